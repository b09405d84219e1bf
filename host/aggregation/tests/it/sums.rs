//! Shares verified as part of a sum: they count for the certificate together, and are evidence of nothing.

use std::time::Duration;

use eigenshift_aggregation::core::{Admission, Core, Ticket, Verdict};
use eigenshift_aggregation::{Accepted, Event, Share, ShareError};
use eigenshift_bls::any::{verify, verify_sum};
use eigenshift_bls::{Curve, SecretKey};
use eigenshift_types::U256;

use crate::fixture::{Cluster, both_curves, digest, give, ms, quorums};

const NOW: Duration = Duration::ZERO;

fn ticket(core: &Core, share: &Share) -> Ticket {
    match core.admit(share) {
        Ok(Admission::Verify(ticket)) => *ticket,
        other => panic!("{other:?}"),
    }
}

/// Shares of two operators that are wrong alone and right together: what one signs with a secret that is too large by
/// one, the other does with one that is too small.
fn cancelling(cluster: &Cluster, first: usize, second: usize) -> [Share; 2] {
    let mut shares = [first, second].map(|operator| cluster.share(1, "k", operator, 1));
    for (share, (operator, up)) in shares.iter_mut().zip([(first, true), (second, false)]) {
        let own = U256::from_be_bytes(*cluster.secrets[operator].to_bytes());
        let other = if up { own + U256::ONE } else { own - U256::ONE };
        let other = SecretKey::from_bytes(cluster.operators.curve(), &other.to_be_bytes()).unwrap();
        share.signature = other.sign(digest(1)).encode();
    }
    shares
}

fn valid_alone(ticket: &Ticket) -> bool {
    verify(&ticket.public_key, ticket.digest, &ticket.signature)
}

fn a_sum_counts_whole_and_gives_a_certificate_that_holds_even_if_its_parts_are_wrong_alone(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[75], ms(0)), NOW).unwrap();
    let [first, second] = cancelling(&cluster, 0, 1);
    let tickets = [first, second, cluster.share(1, "k", 2, 1)].map(|share| ticket(&core, &share));
    assert!(!valid_alone(&tickets[0]) && !valid_alone(&tickets[1]));
    let parts: Vec<_> = tickets.iter().map(|ticket| (ticket.public_key, ticket.signature)).collect();
    assert!(verify_sum(digest(1), &parts));
    let (answers, events) = core.count_sum(&tickets, NOW);
    assert_eq!(answers, Some(vec![Ok(Accepted::Counted); 3]));
    let [Event::Certified(certificate)] = events.as_slice() else { panic!("{events:?}") };
    // The quorum was reached with the third, and all three are in it.
    assert_eq!(cluster.signers(&quorums(&[75]), certificate), [0, 1, 2]);
}

fn a_sum_of_which_one_part_counts_no_more_is_not_counted_at_all(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[50], ms(0)), NOW).unwrap();
    let tickets = cancelling(&cluster, 0, 1).map(|share| ticket(&core, &share));
    // Meanwhile the first one's other answer was counted.
    assert_eq!(give(&mut core, &cluster.share(1, "k", 0, 2), NOW).0, Ok(Accepted::Counted));
    assert_eq!(core.count_sum(&tickets, NOW), (None, vec![]));
    // Alone, the second is found out, and what it sent before is in no certificate.
    let (answer, _) = core.count(&tickets[1], valid_alone(&tickets[1]), NOW);
    assert_eq!(answer, Err(ShareError::Incorrect));
    let honest = [2, 3].map(|operator| ticket(&core, &cluster.share(1, "k", operator, 1)));
    let (_, events) = core.count_sum(&honest, NOW);
    let [Event::Certified(certificate)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(cluster.signers(&quorums(&[50]), certificate), [2, 3]);
}

fn shares_of_two_sums_or_twice_the_same_operator_are_not_one_sum(curve: Curve) {
    // Operator 0 is in both quorums, operator 1 in one: their signatures are added with different weights.
    let cluster = Cluster::on(curve, &[&[100, 100], &[100, 0], &[100, 100]]);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[100, 100], ms(0)), NOW).unwrap();
    let shares = [0, 1, 2].map(|operator| ticket(&core, &cluster.share(1, "k", operator, 1)));
    assert_eq!(core.count_sum(&shares, NOW).0, None, "two weights");
    let other = ticket(&core, &cluster.share(1, "k", 2, 2));
    assert_eq!(core.count_sum(&[shares[0].clone(), other], NOW).0, None, "two digests");
    let twice = [shares[0].clone(), shares[0].clone()];
    assert_eq!(core.count_sum(&twice, NOW).0, None, "one operator twice");
    let (answers, events) = core.count_sum(&[shares[0].clone(), shares[2].clone()], NOW);
    assert_eq!((answers, events), (Some(vec![Ok(Accepted::Counted); 2]), vec![]));
    let (_, events) = core.count(&shares[1], true, NOW);
    let [Event::Certified(certificate)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(cluster.signers(&quorums(&[100, 100]), certificate), [0, 1, 2]);
}

fn a_summed_share_is_evidence_only_after_it_was_verified_alone(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    for honest in [true, false] {
        let mut core = Core::new(1);
        core.open(cluster.task(1, &[100], ms(0)), NOW).unwrap();
        let shares =
            if honest { [0, 1].map(|operator| cluster.share(1, "k", operator, 1)) } else { cancelling(&cluster, 0, 1) };
        let late = ticket(&core, &cluster.share(1, "k", 0, 2));
        let tickets = shares.map(|share| ticket(&core, &share));
        assert!(core.count_sum(&tickets, NOW).0.is_some());
        // On its way since before: nothing is known of the first answer alone.
        assert_eq!(core.count(&late, true, NOW), (Err(ShareError::Busy), vec![]));
        let second = ticket(&core, &cluster.share(1, "k", 0, 2));
        assert_eq!(second.first, Some((digest(1), tickets[0].signature)));
        let verdict = Verdict { valid: true, first: Some(valid_alone(&tickets[0])) };
        let (answer, events) = core.count(&second, verdict, NOW);
        assert_eq!(answer, Err(ShareError::Equivocation { first: digest(1) }));
        match events.as_slice() {
            [Event::Equivocation(evidence)] if honest => assert!(evidence.holds()),
            [] if !honest => {}
            other => panic!("{other:?}"),
        }
        // Once per operator and key.
        let again = core.admit(&cluster.share(1, "k", 0, 3));
        assert_eq!(again.unwrap_err(), ShareError::Equivocation { first: digest(1) });
    }
}

fn a_sum_that_comes_when_the_key_is_certified_or_the_task_gone_is_answered(curve: Curve) {
    let cluster = Cluster::equal_on(curve, 4);
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[50], ms(0)), NOW).unwrap();
    let tickets = [0, 1].map(|operator| ticket(&core, &cluster.share(1, "k", operator, 1)));
    let others = [2, 3].map(|operator| ticket(&core, &cluster.share(1, "k", operator, 1)));
    assert_eq!(core.count_sum(&others, NOW).1.len(), 1);
    let (answers, events) = core.count_sum(&tickets, NOW);
    assert_eq!(answers, Some(vec![Ok(Accepted::AlreadyCertified { digest: digest(1) }); 2]));
    assert_eq!(events, []);
    core.close(1);
    assert_eq!(core.count_sum(&tickets, NOW).0, Some(vec![Err(ShareError::NotOpen(1)); 2]));
    assert_eq!(core.count_sum(&[], NOW).0, Some(vec![]));
}

both_curves! {
    a_sum_counts_whole_and_gives_a_certificate_that_holds_even_if_its_parts_are_wrong_alone,
    a_sum_of_which_one_part_counts_no_more_is_not_counted_at_all,
    shares_of_two_sums_or_twice_the_same_operator_are_not_one_sum,
    a_summed_share_is_evidence_only_after_it_was_verified_alone,
    a_sum_that_comes_when_the_key_is_certified_or_the_task_gone_is_answered
}
