//! The bare-metal image for a Cortex-M33 under QEMU: the conformance suite on
//! target, and whole lives with resets in the middle of operations.

use nrd_tests::external_tools::have;
use nrd_tests::footprint::{Origin, measure};
use nrd_tests::m33;
use serde_json::Value;

#[test]
fn a_whole_life_on_a_cortex_m33_survives_resets_in_the_middle_of_operations() {
    let what = "the Cortex-M33 image";
    let Some(images) = m33::build(what) else {
        return;
    };
    if !have("qemu-system-arm", what) {
        return;
    }
    let (text, ended_well) = m33::run(&images);
    println!("{text}");
    assert!(
        text.contains("conformance: every part keeps its promises"),
        "{text}"
    );
    let last = text.lines().last().unwrap_or_default();
    let result: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(result["ok"], true, "{text}");
    assert!(ended_well);
    let n = |name: &str| result[name].as_u64().unwrap();
    // An uncut life, and one for each third operation; every cut struck.
    assert_eq!(n("lives"), n("operations").div_ceil(3) + 1);
    assert_eq!(n("cuts"), n("lives") - 1);
    assert!(n("operations") > 50);
    // Stack and RAM of the agent: SPEC's budget of 16 KiB.
    assert!(n("agent_stack_bytes") > 1024, "{result}");
    let lent = m33::LENT_BYTES;
    assert!(
        n("agent_stack_bytes") + n("agent_bytes") + lent <= 16 * 1024,
        "{result}"
    );
}

#[test]
fn the_product_image_has_no_panic_path_in_the_agent_and_keeps_its_size() {
    let what = "the look at the Cortex-M33 product image";
    let Some(images) = m33::build(what) else {
        return;
    };
    let product = measure(&images.product);
    assert!(
        product.panics.is_empty(),
        "the agent can panic:\n{:#?}",
        product.panics
    );
    assert!(product.by_origin.len() == 5, "{:?}", product.by_origin);
    println!("{product:#?}");
    // The targets of the whole image, and of the agent without its cryptography.
    assert!(product.text <= 72 * 1024, "{} bytes of text", product.text);
    let agent = product.by_origin[&Origin::Device] + product.by_origin[&Origin::Conversation];
    assert!(agent <= 32 * 1024, "{agent} bytes of the agent");
    assert!(
        product.ram <= 2 * 1024,
        "{} bytes of static RAM",
        product.ram
    );
}
