//! `nrd-sim completions`: what a shell needs to complete commands.

use clap::CommandFactory as _;
use clap_complete::Shell;
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  nrd-sim completions bash > ~/.local/share/bash-completion/completions/nrd-sim
  nrd-sim completions zsh > ~/.zfunc/_nrd-sim
  nrd-sim completions fish > ~/.config/fish/completions/nrd-sim.fish")]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "nrd-sim", &mut text);
    say!("{}", String::from_utf8_lossy(&text).trim_end());
    ExitCode::SUCCESS
}
