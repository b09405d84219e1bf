//! Several AVSs in one process, by the command line.

use crate::nodes::Place;
use crate::process::alone;

const FIRST: &str = "price-oracle";
const SECOND: &str = "second";

/// The configuration's AVSs, changed.
fn change(place: &Place, change: impl FnOnce(&mut Vec<toml::Value>)) {
    let text = std::fs::read_to_string(place.config(1)).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    change(config["avs"].as_array_mut().unwrap());
    std::fs::write(place.config(1), config.to_string()).unwrap();
}

fn set(avs: &mut toml::Value, key: &str, value: impl Into<toml::Value>) {
    avs.as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

/// The line of an AVS in the list, in words.
fn listed(place: &Place, avs: &str) -> Vec<String> {
    let list = place.command(1, &["avs", "list"]).good();
    let line = list.lines().find(|line| line.split(' ').next() == Some(avs));
    line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn avss_are_added_paused_resumed_and_removed_while_the_process_runs() {
    let _alone = alone();
    let place = Place::new().await;
    change(&place, |avss| set(&mut avss[0], "share-bls-key", true));
    let mut operator = place.start(1);
    place.until("the first runs", async || place.status(1).await.filter(|status| status.leads)).await;
    assert_eq!(listed(&place, FIRST), [FIRST, "running"]);
    let avs = |words: &[&str]| place.command(1, &[&["avs"], words].concat());
    let refused = |words: &[&str], code: &str| {
        let said = avs(words).refused();
        assert!(said.contains(code), "no {code:?} in {said}");
    };

    refused(&["add", SECOND], "not-configured");
    refused(&["add", FIRST], "already-here");
    refused(&["pause", SECOND], "unknown-avs");
    // A second one, at first with a file that is not there, then with a key that is another's.
    change(&place, |avss| {
        let mut second = avss[0].clone();
        set(&mut second, "id", SECOND);
        set(&mut second, "share-bls-key", false);
        set(&mut second, "component", "nowhere.wasm");
        avss.push(second);
    });
    refused(&["add", SECOND], "nowhere.wasm");
    let line = listed(&place, SECOND).join(" ");
    assert!(line.starts_with("second failed configuration:"), "{line}");
    change(&place, |avss| {
        let component = avss[0]["component"].clone();
        set(&mut avss[1], "component", component);
    });
    refused(&["resume", SECOND], "shared-bls-key");
    change(&place, |avss| set(&mut avss[1], "share-bls-key", true));
    assert_eq!(avs(&["resume", SECOND]).good(), "second is running\n");

    // Its lines are its own.
    let lines = avs(&["logs", SECOND]).good();
    assert!(lines.contains("not started: ") && lines.contains("shared-bls-key"), "{lines}");
    assert!(lines.lines().any(|line| line.contains("INFO") && line.contains("running")), "{lines}");
    let lines = avs(&["logs", FIRST]).good();
    assert!(lines.contains("running") && !lines.contains("not started"), "{lines}");

    assert_eq!(avs(&["pause", SECOND]).good(), "second is paused\n");
    let paused = place.command(1, &["plugin", "pause", "--avs", FIRST]).good();
    assert_eq!(paused, "price-oracle is paused\n");
    assert_eq!((listed(&place, FIRST)[1].as_str(), listed(&place, SECOND)[1].as_str()), ("paused", "paused"));
    // Over a restart too.
    assert_eq!(operator.stop(), Some(0));
    let mut operator = place.start(1);
    place.until("the list is there", async || (listed_now(&place) == 2).then_some(())).await;
    assert_eq!((listed(&place, FIRST)[1].as_str(), listed(&place, SECOND)[1].as_str()), ("paused", "paused"));
    assert_eq!(avs(&["resume", FIRST]).good(), "price-oracle is running\n");
    place.until("the first leads", async || place.status(1).await.filter(|status| status.leads)).await;

    refused(&["remove", FIRST], "not-paused");
    refused(&["remove", SECOND], "last-member");
    assert!(avs(&["remove", SECOND, "--force"]).good().starts_with("second is removed"));
    assert_eq!(listed(&place, SECOND), Vec::<String>::new());
    refused(&["add", SECOND], "founded-before");
    assert_eq!(operator.stop(), Some(0));
}

/// How many AVSs a node lists that may not be up yet.
fn listed_now(place: &Place) -> usize {
    let said = place.command(1, &["avs", "list"]);
    if said.code == Some(0) { said.out.lines().count() } else { 0 }
}
