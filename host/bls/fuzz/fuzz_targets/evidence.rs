//! Evidence as JSON.
#![no_main]

use eigenshift_aggregation::Evidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(evidence) = Evidence::from_json(text) else { return };
    assert_eq!(Evidence::from_json(&evidence.to_json()).ok().as_ref(), Some(&evidence));

    if evidence.holds() {
        let (first, second) = (evidence.second.clone(), evidence.first.clone());
        let turned = Evidence { first, second, ..evidence.clone() };
        assert!(turned.holds(), "it must not depend on the order");
        let once = Evidence { second: evidence.first.clone(), ..evidence };
        assert!(!once.holds(), "one digest is no evidence");
    }
});
