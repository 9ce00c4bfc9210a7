//! The examples of `nrd-hal` and `nrd-agent` run, and say what they should.

#[allow(dead_code, reason = "an example's `main` is not called here")]
#[path = "../../examples/async_host.rs"]
mod async_host;
#[allow(dead_code, reason = "an example's `main` is not called here")]
#[path = "../../../hal/examples/ram_port/main.rs"]
mod ram_port;
#[allow(dead_code, reason = "an example's `main` is not called here")]
#[path = "../../examples/smallest_host.rs"]
mod smallest_host;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What an example prints.
fn printed(run: impl Fn(&mut Vec<u8>) -> Outcome) -> String {
    let mut out = Vec::new();
    run(&mut out).expect("the example ends well");
    String::from_utf8(out).expect("examples print text")
}

/// These texts appear in this order.
fn assert_in_order(printed: &str, texts: &[&str]) {
    let mut rest = printed;
    for text in texts {
        let Some((_, after)) = rest.split_once(text) else {
            panic!("{text:?} is missing, or too early, in:\n{printed}");
        };
        rest = after;
    }
}

#[test]
fn the_smallest_host_activates_recognises_wipes_and_prints_its_receipt() {
    let out = printed(smallest_host::run);
    assert_in_order(
        &out,
        &[
            "[Clean]",
            "[Activating]",
            "Enter BCDFGHJK",
            "[Active]",
            "[Booting]",
            "[Active]",
            "Welcome back, Alexandra!",
            "Signed in as alex@example.org.",
            "[Wiping]",
            "[Clean]",
            "reset the processor",
            "NRD-TEST-0001 (Test box) was wiped by a person at the device. 16 of 16 sectors",
            "purge",
            "from 0 to 1",
        ],
    );
    assert_eq!(out, printed(smallest_host::run), "every run is the same");
}

#[test]
fn the_async_host_outlives_a_network_that_is_down_and_carries_out_an_order() {
    let out = printed(async_host::run);
    assert_in_order(
        &out,
        &[
            "device: Clean",
            "person: signs in",
            "device: Activating",
            "device: no network",
            "device: no network",
            "device: Active",
            "person: removes the device",
            "device: Wiping",
            "device: Clean",
            "person: sees on the page that it is clean",
        ],
    );
    assert!(!out.contains("refused"), "{out}");
    assert_eq!(out, printed(async_host::run), "every run is the same");
}

#[test]
fn the_ram_port_passes_the_conformance_suite_and_a_wrong_clock_does_not() {
    let out = printed(ram_port::run);
    assert_eq!(out.matches("ok  ").count(), 11, "{out}");
    assert_in_order(
        &out,
        &[
            "ok  Platform",
            "ok  Power cycle",
            "Clock: uptime never goes back (at 255)",
        ],
    );
}
