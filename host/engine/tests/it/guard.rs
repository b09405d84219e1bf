//! The signing guard.

use std::path::{Path, PathBuf};

use eigenshift_engine::guard::{Guard, GuardError, Owner, Signed};
use eigenshift_env::Env;
use eigenshift_types::{Address, B256, NodeId, NodeKey, ResponseKey, Service};
use tempfile::TempDir;

const TASK: u32 = 7;

struct Place {
    env: Env,
    directory: TempDir,
    service: Service,
    owner: Owner,
}

impl Place {
    fn new() -> Self {
        let service =
            Service { avs: "avs".parse().unwrap(), chain_id: 31337, service_manager: Address::repeat_byte(0x11) };
        let owner = Owner { node: NodeId(4), key: NodeKey::from_seed(&[4; 32]).public() };
        Self { env: Env::real(), directory: tempfile::tempdir().unwrap(), service, owner }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("guard.redb")
    }

    fn open_as(&self, owner: Owner, fresh: bool) -> Result<Guard, GuardError> {
        Guard::open(&self.env, &self.path(), owner, self.service.clone(), fresh)
    }

    fn open(&self, fresh: bool) -> Guard {
        self.open_as(self.owner, fresh).unwrap()
    }
}

fn signed(key: &str, digest: u8) -> Signed {
    Signed {
        key: ResponseKey::new(key.as_bytes().to_vec()).unwrap(),
        payload: vec![digest; 9].into(),
        digest: B256::repeat_byte(digest),
        extension: vec![0xee].into(),
        signature: vec![digest; 64].into(),
    }
}

fn refused(result: Result<Guard, GuardError>) -> GuardError {
    result.err().expect("the guard must not open")
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn what_was_signed_is_there_after_reopening() {
    let place = Place::new();
    let guard = place.open(true);
    guard.record(TASK, &[signed("a", 1), signed("b", 2)]).unwrap();
    guard.record(TASK + 1, &[signed("a", 3)]).unwrap();
    drop(guard);
    let guard = place.open(false);
    assert_eq!(guard.signed(TASK).unwrap(), [signed("a", 1), signed("b", 2)]);
    assert_eq!(guard.signed(TASK + 1).unwrap(), [signed("a", 3)]);
    assert_eq!(guard.signed(TASK - 1).unwrap(), []);
}

#[test]
fn what_was_signed_is_durable_before_recording_returns() {
    let place = Place::new();
    let guard = place.open(true);
    guard.record(TASK, &[signed("a", 1)]).unwrap();
    // The bytes on disk as they are now are what a crash would leave.
    let copy = place.directory.path().join("crashed").join("guard.redb");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    std::fs::copy(place.path(), &copy).unwrap();
    let after = Guard::open(&place.env, &copy, place.owner, place.service.clone(), false).unwrap();
    assert_eq!(after.signed(TASK).unwrap(), [signed("a", 1)]);
}

#[test]
fn a_second_digest_for_a_key_is_refused_and_the_first_stays() {
    let place = Place::new();
    let guard = place.open(true);
    guard.record(TASK, &[signed("a", 1)]).unwrap();
    let error = guard.record(TASK, &[signed("a", 2)]).unwrap_err();
    let (first, second) = (B256::repeat_byte(1), B256::repeat_byte(2));
    assert!(
        matches!(error, GuardError::Equivocation { signed, asked } if signed == first && asked == second),
        "{error}"
    );
    drop(guard);
    let guard = place.open(false);
    assert!(matches!(guard.record(TASK, &[signed("a", 2)]), Err(GuardError::Equivocation { .. })));
    assert_eq!(guard.signed(TASK).unwrap(), [signed("a", 1)]);
}

#[test]
fn one_refused_response_keeps_out_all_that_came_with_it() {
    let place = Place::new();
    let guard = place.open(true);
    guard.record(TASK, &[signed("b", 1)]).unwrap();
    assert!(guard.record(TASK, &[signed("a", 5), signed("b", 2), signed("c", 6)]).is_err());
    assert_eq!(guard.signed(TASK).unwrap(), [signed("b", 1)]);
}

#[test]
fn the_same_again_is_fine_and_other_keys_and_tasks_are_free() {
    let place = Place::new();
    let guard = place.open(true);
    for _ in 0..2 {
        guard.record(TASK, &[signed("a", 1)]).unwrap();
    }
    // The digest counts; what came with it first is what stays.
    let other_words = Signed { payload: vec![0xff].into(), ..signed("a", 1) };
    guard.record(TASK, &[other_words]).unwrap();
    assert_eq!(guard.signed(TASK).unwrap(), [signed("a", 1)]);
    guard.record(TASK, &[signed("aa", 2)]).unwrap();
    guard.record(TASK + 256, &[signed("a", 3)]).unwrap();
    assert_eq!(guard.signed(TASK).unwrap(), [signed("a", 1), signed("aa", 2)]);
}

#[test]
fn two_digests_in_one_call_for_one_key_are_refused() {
    let place = Place::new();
    let guard = place.open(true);
    assert!(matches!(guard.record(TASK, &[signed("a", 1), signed("a", 2)]), Err(GuardError::Equivocation { .. })));
    assert_eq!(guard.signed(TASK).unwrap(), []);
}

#[test]
fn a_missing_guard_on_a_member_refuses_and_makes_no_new_one() {
    let place = Place::new();
    assert!(matches!(refused(place.open_as(place.owner, false)), GuardError::Missing));
    assert!(!place.path().exists());
}

#[test]
fn an_emptied_guard_on_a_member_refuses() {
    let place = Place::new();
    let guard = place.open(true);
    guard.record(TASK, &[signed("a", 1)]).unwrap();
    drop(guard);
    std::fs::write(place.path(), []).unwrap();
    assert!(matches!(refused(place.open_as(place.owner, false)), GuardError::Missing));
}

#[test]
fn the_guard_of_another_node_or_key_refuses() {
    let place = Place::new();
    place.open(true).record(TASK, &[signed("a", 1)]).unwrap();
    let other_node = Owner { node: NodeId(5), ..place.owner };
    let other_key = Owner { key: NodeKey::from_seed(&[5; 32]).public(), ..place.owner };
    for owner in [other_node, other_key] {
        for fresh in [false, true] {
            assert!(matches!(refused(place.open_as(owner, fresh)), GuardError::OtherNode { found: NodeId(4), .. }));
        }
    }
    assert_eq!(place.open(false).signed(TASK).unwrap(), [signed("a", 1)]);
}

#[test]
fn a_corrupt_guard_refuses_and_is_not_overwritten() {
    let place = Place::new();
    place.open(true).record(TASK, &[signed("a", 1)]).unwrap();
    let sound = bytes(&place.path());
    let garbage = vec![0xa5; sound.len()];
    let mut wrong_head = sound.clone();
    wrong_head[..8].fill(0);
    let cut = sound[..sound.len() / 2].to_vec();
    for (what, corrupt) in [("garbage", garbage), ("another head", wrong_head), ("cut", cut)] {
        std::fs::write(place.path(), &corrupt).unwrap();
        for fresh in [false, true] {
            let error = refused(place.open_as(place.owner, fresh));
            assert!(matches!(error, GuardError::Open(_) | GuardError::Storage(_)), "{what}: {error}");
            assert!(bytes(&place.path()) == corrupt, "{what}: the file was overwritten");
        }
    }
    std::fs::write(place.path(), &sound).unwrap();
    assert_eq!(place.open(false).signed(TASK).unwrap(), [signed("a", 1)]);
}

#[test]
fn a_closed_guard_signs_nothing_and_can_be_opened_again() {
    let place = Place::new();
    let guard = place.open(true);
    let clone = guard.clone();
    guard.record(TASK, &[signed("a", 1)]).unwrap();
    guard.close();
    assert!(matches!(clone.record(TASK, &[signed("b", 2)]), Err(GuardError::Closed)));
    assert!(matches!(clone.signed(TASK), Err(GuardError::Closed)));
    let again = place.open(false);
    assert_eq!(again.signed(TASK).unwrap(), [signed("a", 1)]);
}

#[test]
fn a_successor_is_bound_by_what_its_predecessor_signed_and_the_predecessor_never_signs_again() {
    let place = Place::new();
    let heir = Owner { node: NodeId(9), ..place.owner };
    let pass = |from: Owner, to: Owner| Guard::pass_on(&place.env, &place.path(), from, to);
    assert!(matches!(pass(place.owner, heir), Err(GuardError::Missing)), "there is none yet, and none is made");
    let guard = place.open(true);
    guard.record(TASK, &[signed("a", 1)]).unwrap();
    guard.close();
    // Only its own owner's, and again is fine.
    let stranger = Owner { node: NodeId(5), ..place.owner };
    assert!(matches!(pass(stranger, heir), Err(GuardError::OtherNode { .. })));
    pass(place.owner, heir).unwrap();
    pass(place.owner, heir).unwrap();
    assert!(matches!(place.open_as(place.owner, false), Err(GuardError::OtherNode { .. })));
    let guard = place.open_as(heir, true).unwrap();
    assert_eq!(guard.signed(TASK).unwrap(), [signed("a", 1)]);
    assert!(matches!(guard.record(TASK, &[signed("a", 2)]), Err(GuardError::Equivocation { .. })));
}
