//! Certificates to the transaction that answers the task.

use std::collections::{BTreeMap, BTreeSet};

use eigenshift_guest::{
    B256, BlockId, Certificate, Chain, Decision, SubmissionError, Task as LoggedTask, TaskSubmission, Transaction,
    types,
};

use crate::PriceOraclePlugin;
use crate::contracts::{Answer, G1Point, G2Point, PriceOracle, Response, SignatureParams, Task};

impl TaskSubmission for PriceOraclePlugin {
    fn submit(
        task: &LoggedTask<Task>,
        certificates: &[Certificate<Response>],
        last: bool,
        _block: &BlockId,
        chain: &Chain,
    ) -> Result<Decision, SubmissionError> {
        let quorums: &[u8] = &task.request.quorumNumbers;
        if let Some(other) = certificates.iter().find(|certificate| certificate.quorums != quorums) {
            return Ok(Decision::Fail(format!(
                "certified under the quorums {:?}, the contract's task wants {quorums:?}: set the cluster's quorums to those",
                other.quorums
            )));
        }
        let feed = PriceOracle::feedSourcesCall { feed: task.request.feed };
        let feed = chain.call_at(task.reference_block.number, task.service.service_manager, &feed)?;
        let sources: BTreeSet<B256> = feed.sources.iter().map(|source| source.name).collect();
        // The contract wants the answers ascending by source, and only sources that it knows.
        let answers: BTreeMap<B256, Answer> = certificates
            .iter()
            .filter(|certificate| sources.contains(&certificate.response.source))
            .map(|certificate| (certificate.response.source, answer(certificate)))
            .collect();
        let complete = !sources.is_empty() && answers.len() == sources.len();
        let enough = !answers.is_empty() && u32::try_from(answers.len()).is_ok_and(|count| count >= feed.minSources);
        if complete || (last && enough) {
            let call = PriceOracle::respondToTaskCall {
                task: task.request.clone(),
                submitted: answers.into_values().collect(),
            };
            return Ok(Decision::Submit(Transaction::call(task.service.service_manager, &call)));
        }
        Ok(Decision::NotYet)
    }

    fn is_answered(task: &LoggedTask<Task>, _block: &BlockId, chain: &Chain) -> Result<bool, SubmissionError> {
        Ok(chain.call(task.service.service_manager, &PriceOracle::isAnsweredCall { index: task.index })?)
    }
}

fn answer(certificate: &Certificate<Response>) -> Answer {
    Answer {
        response: certificate.response.clone(),
        params: SignatureParams {
            nonSignerPubkeys: certificate.non_signers.iter().map(g1).collect(),
            apkG2: G2Point { X: certificate.signers_aggregate_key.x, Y: certificate.signers_aggregate_key.y },
            sigma: g1(&certificate.signature),
        },
    }
}

fn g1(point: &types::G1Point) -> G1Point {
    G1Point { X: point.x, Y: point.y }
}
