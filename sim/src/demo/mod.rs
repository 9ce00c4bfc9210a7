//! The whole story on real parts: a service with its database, devices as
//! processes, real sockets, the page's own forms.
//!
//! | file | what |
//! |---|---|
//! | `story.rs` | what happens, step by step |
//! | `child.rs` | a device as a child process: its screen, its remote, its plug |
//! | `browser.rs` | submits the page's forms as a browser without scripts would |
//! | `report.rs` | what was seen |

mod browser;
mod child;
mod report;
mod story;

pub use browser::Browser;
pub use child::Child;
pub use report::{DemoReport, Step, WipeFigures};
pub use story::{Options, Stage, run};
