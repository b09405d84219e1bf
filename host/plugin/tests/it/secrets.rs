//! Secrets: who gets them, and that what is said about a guest never holds one.

use eigenshift_plugin::{
    CallError, Grants, Import, LoadError, PeerResponse, Plugin, ProcessError, SecretValue, Secrets, TenantOptions,
};
use eigenshift_types::Bytes;

use crate::fixtures::{chain, host, peer, task};
use crate::guest::{ANSWER, DIGEST, Guest, IMPORT_LOG, IMPORT_SECRETS, KEY, SCRATCH, SECRETS, manifest, result};
use crate::lines;

const VALUE: &str = "s3cr3t-value-of-the-operator";
const OUT: u32 = 8192;
/// Where the secret's name lies.
const NAME: (u32, usize) = (9000, 7);

fn secrets(values: &[(&str, &str)]) -> Secrets {
    let value = |text: &str| SecretValue::new(text.as_bytes().to_vec()).unwrap();
    values.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
}

/// Reveals into the locals `$at` and `$len`; an error's text instead if there is one.
fn reveal() -> String {
    format!(
        "(local $at i32) (local $len i32)
         (call $secret_open (i32.const {name}) (i32.const {len}) (i32.const {OUT}))
         (if (i32.load8_u (i32.const {OUT}))
           (then
             (i32.store8 (i32.const 9100) (i32.add (i32.const 48) (i32.load8_u (i32.const {first}))))
             (local.set $at (i32.const 9100)) (local.set $len (i32.const 1)))
           (else
             (call $secret_reveal (i32.load (i32.const {first})) (i32.const {OUT}))
             (if (i32.load8_u (i32.const {OUT}))
               (then (local.set $at (i32.load (i32.const {second}))) (local.set $len (i32.load (i32.const {third}))))
               (else (local.set $at (i32.load (i32.const {first}))) (local.set $len (i32.load (i32.const {second})))))))",
        name = NAME.0,
        len = NAME.1,
        first = OUT + 4,
        second = OUT + 8,
        third = OUT + 12,
    )
}

/// Puts the text's place into two words.
fn put(at: u32) -> String {
    format!("(i32.store (i32.const {at}) (local.get $at)) (i32.store (i32.const {}) (local.get $len))", at + 4)
}

/// Every callback gives back what it could reveal, or the number of the error's case.
fn revealing() -> Guest {
    let s = SCRATCH;
    let mut guest = Guest { imports: format!("{IMPORT_SECRETS}{IMPORT_LOG}"), ..Guest::default() };
    guest.extra = format!("(data (i32.const {}) \"api-key\")", NAME.0);
    guest.world.push_str(&format!("import {SECRETS};"));
    guest.body("describe", &format!("{} {} (i32.const 16)", reveal(), put(16)));
    guest.body("on-task-request", &format!("{} {} {}", reveal(), result(&[0, s + 12, 1, 0, 0]), put(s + 12)));
    let signed = result(&[0, s + 12, 1, KEY, 1, 0, 0, DIGEST, 32, ANSWER, 0]);
    guest.body("on-submit-task-to-leader", &format!("{} {signed} {}", reveal(), put(s + 20)));
    let counted = result(&[0, 7, 0, 0, DIGEST, 32]);
    guest.body("on-leader-process-task-response", &format!("{} {counted} {}", reveal(), put(s + 8)));
    guest.manifest = manifest("imports = [\"secrets\", \"log\"]\nsecrets = [\"api-key\"]", "");
    guest
}

async fn load(guest: &Guest, provided: Secrets) -> Result<Plugin, LoadError> {
    let host = host();
    let tenant = host.tenant_with(TenantOptions { secrets: provided, ..TenantOptions::default() });
    host.load_for(&tenant, guest.bundle(), &Grants::all()).await
}

#[tokio::test]
async fn a_secret_is_revealed_to_the_callback_that_may_use_it_and_to_no_other() {
    let plugin = load(&revealing(), secrets(&[("api-key", VALUE), ("other", "never listed")])).await.unwrap();
    assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap(), [Bytes::from_static(VALUE.as_bytes())]);
    assert_eq!(plugin.counters().secrets_revealed, 1);
    // The first case: access-denied.
    assert_eq!(plugin.descriptor().name, "0");
    assert_eq!(plugin.on_submit_task_to_leader(&task(), &[]).await.unwrap()[0].payload[..], *b"0");
    let counted = plugin.on_leader_process_task_response(&task(), &peer()).await.unwrap();
    assert_eq!(counted.key.as_bytes()[..], *b"0");
    assert_eq!(plugin.counters().secrets_revealed, 1);
}

#[tokio::test]
async fn only_what_the_manifest_lists_is_found_whatever_the_operator_has() {
    let mut guest = revealing();
    guest.extra = format!("(data (i32.const {}) \"other-1\")", NAME.0);
    let plugin = load(&guest, secrets(&[("api-key", VALUE), ("other-1", "never listed")])).await.unwrap();
    assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap()[0][..], *b"1", "no-such-secret");
    let mut guest = revealing();
    guest.manifest = manifest("imports = [\"log\"]", "");
    let plugin = load(&guest, secrets(&[("api-key", VALUE)])).await.unwrap();
    assert_eq!(plugin.on_task_request(&task(), chain()).await.unwrap()[0][..], *b"0");
}

#[tokio::test]
async fn a_bundle_whose_secrets_are_not_there_is_refused_by_name() {
    let error = load(&revealing(), secrets(&[("api-kez", VALUE)])).await.unwrap_err();
    assert_eq!(error, LoadError::SecretMissing { name: "api-key".to_owned() });
    assert_eq!(error.code(), "secret-missing");
    let granted = [Import::Log].into_iter().collect();
    let error = host().load(revealing().bundle(), &granted).await.unwrap_err();
    assert_eq!(error, LoadError::ImportNotGranted { import: Import::Secrets });
}

#[test]
fn values_have_bounds_and_names_are_all_that_is_printed() {
    for len in [0, 7, 4097] {
        let error = SecretValue::new(vec![b'x'; len]).map(drop).unwrap_err();
        assert!(error.to_string().contains(&len.to_string()), "{error}");
    }
    let options = TenantOptions { secrets: secrets(&[("api-key", VALUE)]), ..TenantOptions::default() };
    let printed = format!("{options:?}");
    assert!(printed.contains("api-key") && !printed.contains("s3cr3t"), "{printed}");
}

#[tokio::test]
async fn no_text_that_comes_out_of_a_guest_holds_a_secret() {
    lines::keep();
    let s = SCRATCH;
    let log = "(call $emit (i32.const 4) (local.get $at) (local.get $len))";
    let provided = || secrets(&[("api-key", VALUE)]);
    // Each case of the callback's error, with a line of the log before it.
    for case in [1, 2, 3] {
        let mut guest = revealing();
        let error = format!("{} {log} {} {}", reveal(), result(&[1, case, 0, 0]), put(s + 8));
        guest.body("on-task-request", &error);
        let plugin = load(&guest, provided()).await.unwrap();
        let error = plugin.on_task_request(&task(), chain()).await.unwrap_err();
        assert!(error.to_string().contains("[redacted]") && !error.to_string().contains("s3cr3t"), "{error}");
        assert_eq!(plugin.counters().log_lines, 1);
    }
    // Out of bounds: the engine's text.
    let mut guest = revealing();
    guest.body("on-task-request", &format!("{} {} {}", reveal(), result(&[0, s + 12, 7, 0, 0]), put(s + 12)));
    let error = load(&guest, provided()).await.unwrap().on_task_request(&task(), chain()).await.unwrap_err();
    assert!(matches!(&error, CallError::BadOutput(text) if !text.contains("s3cr3t")), "{error}");

    // A later call that has it from elsewhere: as a rejection's message, and as its code, which people and metrics read.
    let mut guest = Guest { manifest: revealing().manifest, ..Guest::default() };
    let body = format!(
        "{} (i64.store (i32.const {}) (i64.load offset=72 (local.get 0)))
         (i64.store (i32.const {}) (i64.load offset=72 (local.get 0)))",
        result(&[1, 0, 0, 0, 0]),
        s + 4,
        s + 12
    );
    guest.body("on-leader-process-task-response", &body);
    let plugin = load(&guest, provided()).await.unwrap();
    let response = PeerResponse { payload: Bytes::from_static(VALUE.as_bytes()), ..peer() };
    let error = plugin.on_leader_process_task_response(&task(), &response).await.unwrap_err();
    assert_eq!(error, ProcessError::Rejected { code: "rejected".into(), message: "[redacted]".into() });

    assert!(lines::with("[redacted]").len() >= 3, "the guest's own lines");
    assert_eq!(lines::with("s3cr3t"), Vec::<String>::new());
}
