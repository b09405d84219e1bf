//! Verifying a batch: plain sums first.
//!
//! A sum that verifies needs no random coefficients, which are what a batch costs. Sums of different certificates are
//! still checked with coefficients, one for each, in one product of pairings. The parts of a sum that fails are verified
//! afterwards with coefficients of their own, and the wrong ones named.

use std::collections::BTreeMap;

use eigenshift_bls::any::verify_each;
use eigenshift_bls::{PublicKey, Signature};
use eigenshift_types::B256;

use crate::core::{Ticket, Verdict};
use crate::prepared::PreparedKeys;

/// Tickets whose sums were verified.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Tickets of one sum each, which is right: for [`Core::count_sum`](crate::core::Core::count_sum).
    pub right: Vec<Vec<Ticket>>,
    /// Those of which nothing is known yet: for [`each`]. Finding the wrong ones among them takes many times as long as
    /// all the sums.
    pub rest: Vec<Ticket>,
}

/// Verifies the sums of tickets that may be added up.
#[must_use]
pub fn sums(tickets: Vec<Ticket>) -> Sums {
    let mut rest = Vec::new();
    let mut groups: BTreeMap<_, Vec<Ticket>> = BTreeMap::new();
    for ticket in tickets {
        // A second answer may become evidence: it needs a verdict of its own.
        if ticket.first.is_some() {
            rest.push(ticket);
        } else {
            let (task, generation, key, digest, weight) = ticket.sum_id();
            groups.entry((task, generation, key.clone(), digest, weight)).or_default().push(ticket);
        }
    }
    // A lone share is its own sum.
    let (groups, single): (Vec<_>, Vec<_>) = groups.into_values().partition(|group: &Vec<Ticket>| group.len() > 1);
    rest.extend(single.into_iter().flatten());
    let totals: Vec<(PublicKey, B256, Signature)> = groups.iter().filter_map(|group| total(group)).collect();
    let mut right = Vec::new();
    for (group, valid) in groups.into_iter().zip(verify_each(&totals)) {
        if valid { right.push(group) } else { rest.extend(group) }
    }
    Sums { right, rest }
}

/// The sum of a group, which is not empty.
fn total(group: &[Ticket]) -> Option<(PublicKey, B256, Signature)> {
    let first = group.first()?;
    let curve = first.public_key.curve();
    let key = PublicKey::weighted_sum(curve, group.iter().map(|ticket| (ticket.public_key, 1)));
    let signature = Signature::weighted_sum(curve, group.iter().map(|ticket| (ticket.signature, 1)));
    Some((key, first.digest, signature))
}

/// Verifies each ticket alone: several in one product of pairings, a lone one under its prepared key.
#[must_use]
pub fn each(tickets: Vec<Ticket>, keys: &PreparedKeys) -> Vec<(Ticket, Verdict)> {
    if let [ticket] = tickets.as_slice()
        && ticket.first.is_none()
    {
        let valid = keys.get(ticket.operator, ticket.public_key).verify(ticket.digest, &ticket.signature);
        return tickets.into_iter().map(|ticket| (ticket, valid.into())).collect();
    }
    let own = tickets.iter().map(Ticket::item);
    let firsts = tickets.iter().filter_map(Ticket::first_item);
    let items: Vec<_> = own.chain(firsts).collect();
    let verdicts = verify_each(&items);
    let (own, firsts) = verdicts.split_at(tickets.len().min(verdicts.len()));
    let mut firsts = firsts.iter().copied();
    let own: Vec<bool> = own.to_vec();
    tickets
        .into_iter()
        .zip(own)
        .map(|(ticket, valid)| {
            let first = ticket.first.and_then(|_| firsts.next());
            (ticket, Verdict { valid, first })
        })
        .collect()
}
