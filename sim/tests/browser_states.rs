//! What a clerk reads of a device that gives no answer: every state that a device
//! beside the desk can be brought into, and every state that is handed in as text
//! or as a photo of a code. In a real Chromium, on a desktop and on a phone.

mod common;

use common::chromium::{Driver, Person, Window};
use common::{World, with_browser};
use nrd_agent::State;
use nrd_agent::wire::LockReason;
use nrd_hal::layout::Layout;
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::Browser;
use nrd_sim::service::desk::{Condition, Part};
use nrd_sim::world::room::{DeskAnswer, Key, Room};
use std::sync::Arc;

const SEED: u64 = 7;
const TV: &str = "NRD-STB-ROOM1";
const CONSOLE: &str = "NRD-CON-ROOM2";
const PC: &str = "NRD-PC-ROOM3";

struct Clerk<'w> {
    p: Person,
    room: Arc<Room>,
    world: &'w World,
}

impl Clerk<'_> {
    /// Begins a check of this device and stays on its page.
    async fn begin(&self, id: &str) {
        self.p.go("/desk").await;
        self.p.type_into("#device", id).await;
        self.p.click("main form button").await;
        self.p.wait_for("Ask the device").await;
    }

    /// The open page says what is to be said of this state.
    async fn reads(&mut self, condition: Condition, picture: &str) {
        let words = condition.words();
        self.p.wait_for(words.title).await;
        let page = self.p.text().await;
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(words.means), "{condition:?}: {page}");
        assert!(page.contains(words.next), "{condition:?}: {page}");
        assert!(!page.contains("Proven clean"), "{condition:?}");
        if !picture.is_empty() {
            self.p.look(picture).await;
        }
    }

    fn until(&self, n: usize, state: Condition) {
        common::eventually(&format!("{state:?}"), || {
            self.room.set(n).unwrap().face().condition == state
        });
    }

    fn activate(&self, n: usize, model: &str) {
        self.until(n, Condition::In(State::Clean));
        self.room.press(n, Key::Ok);
        self.enter_code(n, model);
    }

    /// The account holder enters the code on the screen.
    fn enter_code(&self, n: usize, model: &str) {
        let code = || self.room.set(n).unwrap().face().code;
        common::eventually("code", || code().is_some());
        // Weeks may have passed since the last time: the holder signs in anew.
        let holder = Browser::new(&self.world.running.pages_url());
        holder
            .sign_in("alexandra@example.com", "correct horse battery", false)
            .unwrap();
        holder.activate(&code().unwrap().0, model, true).unwrap();
        self.until(n, Condition::In(State::Active));
    }

    /// Chooses an entry of the device's menu.
    fn menu(&self, n: usize, item: usize) {
        use Key::{Down, Hold, Left, Ok, Right, Up};
        let sequence = [Up, Up, Down, Down, Left, Right, Left, Right, Up, Up, Up, Up];
        for key in sequence {
            self.room.press(n, key);
        }
        common::eventually("menu", || self.room.set(n).unwrap().face().menu.is_some());
        for _ in 0..item {
            self.room.press(n, Down);
        }
        self.room.press(n, Ok);
        self.room.press(n, Hold);
    }

    async fn ask_by_cable(&self) {
        self.p.click("form[action^='/room/ask'] button").await;
    }

    fn remove_all(&self) {
        let service = &self.world.running.service;
        let account = service
            .check_password(
                "alexandra@example.com",
                "correct horse battery",
                "127.0.0.1",
            )
            .unwrap();
        service.remove_all(account, "127.0.0.1").unwrap();
    }
}

/// A set-top box goes through the life of a returned device.
async fn a_life(c: &mut Clerk<'_>) {
    use Condition::In;
    c.begin(TV).await;
    c.reads(Condition::Off, "state-off").await;
    c.room.set_slow(16);
    c.room.plug(1, true);
    c.reads(In(State::Filling), "state-filling").await;
    c.room.set_slow(1);
    c.reads(In(State::Clean), "state-clean").await;
    c.room.press(1, Key::Ok);
    c.reads(In(State::Activating), "state-activating").await;
    c.enter_code(1, "Virtual set-top box");
    c.reads(In(State::Active), "state-active").await;
    // Asked, it cannot answer: the desk says the same, and the device shows a code.
    c.ask_by_cable().await;
    common::eventually("its answer", || {
        c.room.set(1).unwrap().face().answer == Some(DeskAnswer::State(In(State::Active)))
    });
    c.reads(In(State::Active), "").await;
    photo_of_a_state(c).await;
    c.begin(TV).await;
    c.menu(1, 0);
    c.reads(In(State::SignedOut), "state-signed-out").await;
    c.room.press(1, Key::Ok);
    c.enter_code(1, "Virtual set-top box");
    // 40 days without a network: the lease ends.
    c.room.network(1, false);
    c.room.advance(40 * 86_400);
    let expired = In(State::Locked(LockReason::LeaseExpired));
    c.reads(expired, "state-locked").await;
    c.room.network(1, true);
    c.until(1, In(State::Active));
    c.room.set_slow(16);
    c.remove_all();
    c.reads(In(State::Wiping), "state-wiping").await;
    let percent = "return document.querySelector('#device-state progress')?.value";
    c.p.wait_until(percent, |v| v.as_f64() > Some(0.0), "progress")
        .await;
    c.room.set_slow(1);
    c.reads(In(State::Clean), "").await;
    // The check of 40 days ago is too old to be answered.
    c.begin(TV).await;
    c.ask_by_cable().await;
    c.p.wait_for("Proven clean").await;
    assert!(!c.p.text().await.contains("Clean, it says"));
}

/// The code that the device shows in the place of an answer, photographed and
/// handed in where no cable reaches it.
async fn photo_of_a_state(c: &mut Clerk<'_>) {
    c.p.go("/room").await;
    c.p.wait_for("This code says why").await;
    let svg = "return document.querySelector('#set-1 .qr-frame svg').outerHTML";
    let svg = c.p.run(svg).await.as_str().unwrap().to_owned();
    let svg = svg.replacen(
        "<svg ",
        "<svg xmlns='http://www.w3.org/2000/svg' width='340' ",
        1,
    );
    let svg = svg.replace('#', "%23").replace('"', "'");
    let picture = format!("data:image/svg+xml,{svg}");
    c.p.client.goto(&picture).await.unwrap();
    let photo = c.world.dir.path().join("state.png");
    std::fs::write(&photo, c.p.client.screenshot().await.unwrap()).unwrap();
    c.begin("NRD-STB-ELSEWHERE").await;
    let field = c.p.find("#photo").await;
    field.send_keys(&photo.display().to_string()).await.unwrap();
    c.p.click("#answer ~ form .actions button").await;
    c.reads(Condition::In(State::Active), "state-by-photo")
        .await;
}

/// A wipe that fails: the device's signed answer says which part.
async fn a_failed_wipe(c: &mut Clerk<'_>) {
    c.room.plug(2, true);
    c.activate(2, "Virtual game console");
    // A cell of the vault holds 0 for ever.
    c.room
        .set(2)
        .unwrap()
        .hardware()
        .chip()
        .stick(0x2000, 1, false);
    c.remove_all();
    c.begin(CONSOLE).await;
    c.reads(Condition::In(State::WipeFailed), "state-failed")
        .await;
    c.ask_by_cable().await;
    c.p.wait_for("1 of 58 sectors of its storage are not blank")
        .await;
    c.p.look("verdict-failed").await;
}

/// Parts that do not answer, and a journal that is gone.
async fn broken_parts(c: &mut Clerk<'_>) {
    let chip = |c: &Clerk<'_>| c.room.set(3).unwrap().hardware().clone();
    c.room.plug(3, true);
    c.until(3, Condition::In(State::Clean));
    chip(c).chip().defects().silence_counter(u64::MAX, 0);
    c.begin(PC).await;
    c.ask_by_cable().await;
    c.reads(Condition::Silent(Part::Counter), "state-counter")
        .await;
    chip(c).chip().defects().mend_counter();
    c.ask_by_cable().await;
    c.p.wait_for("Proven clean").await;
    c.activate(3, "Virtual computer");
    c.room.plug(3, false);
    c.until(3, Condition::Off);
    {
        let hw = chip(c);
        let mut chip = hw.chip();
        let layout = Layout::plan(&chip.spec().geometry).unwrap();
        let mut cells = chip.cells().to_vec();
        cells[layout.slot(0).start as usize - 4 * 4096..layout.slot(0).start as usize].fill(0x5A);
        chip.restore_image(&cells);
    }
    c.room.plug(3, true);
    c.begin(PC).await;
    let lost = Condition::In(State::Locked(LockReason::JournalLost));
    c.reads(lost, "state-journal-lost").await;
}

/// Every state that a device can say, pasted.
async fn handed_in(c: &mut Clerk<'_>) {
    c.begin("NRD-STB-ELSEWHERE").await;
    let said: Vec<_> = Condition::all()
        .filter_map(|s| Some((s, s.text()?)))
        .collect();
    assert_eq!(said.len(), 21);
    for (condition, text) in said {
        c.p.type_into("#text", &text).await;
        c.p.click("#answer ~ form .actions button").await;
        c.reads(condition, "").await;
    }
    // The code that waits for an account, from its screen; then the question.
    c.p.type_into("#text", "BCDF-GHJK").await;
    c.p.click("#answer ~ form .actions button").await;
    c.reads(Condition::In(State::Activating), "").await;
    c.p.go("/desk").await;
    c.p.wait_for("NRD-STB-ELSEWHERE").await;
    let line =
        c.p.run("return document.querySelector('.checks li').innerText")
            .await;
    let line = line.as_str().unwrap();
    assert!(line.contains("Waits for an account"), "{line}");
    c.p.click(".checks a").await;
    let question = c.p.find("#question").await.attr("value").await.unwrap();
    c.p.type_into("#text", &question.unwrap()).await;
    c.p.click("#answer ~ form .actions button").await;
    c.p.wait_for("This is the desk’s question, not the device’s answer")
        .await;
    c.p.click("a[href='/desk/states']").await;
    c.p.wait_for("What a device may say instead of an answer")
        .await;
    for condition in Condition::all() {
        c.p.wait_for(condition.words().title).await;
    }
    c.p.look("states").await;
}

async fn states(world: &World, driver: &Driver, name: &str, window: Window) {
    println!("seed {SEED}");
    let samples = Samples::read(None).unwrap().accounts;
    let room = Room::new(&world.running.service, &samples, SEED);
    assert!(world.room.furnish(room.clone()));
    let base = world.running.pages_url();
    let p = Person::at(driver, &base, name, window).await;
    let mut clerk = Clerk { p, room, world };
    a_life(&mut clerk).await;
    a_failed_wipe(&mut clerk).await;
    broken_parts(&mut clerk).await;
    handed_in(&mut clerk).await;
    clerk.p.go("/desk").await;
    clerk.p.wait_for("Beside this desk").await;
    clerk.p.look("desk-beside").await;
    clerk.p.client.close().await.unwrap();
}

#[test]
fn every_state_has_its_words_on_a_desktop() {
    with_browser(async |w, d| states(w, d, "states-desktop", Window::DESKTOP).await);
}

#[test]
fn every_state_has_its_words_at_390_pixels() {
    let window = Window {
        width: 390,
        height: 844,
        ..Window::DESKTOP
    };
    with_browser(async |w, d| states(w, d, "states-phone", window).await);
}
