//! Track 0.1 of the WIT package.
//!
//! - here: the bindings, and the calls with what each export may use (PROTOCOL §10).
//! - `link`: which imports and exports a component has, and whether they are this track's.
//! - `imports`: the imports' implementation.
//! - `convert`: the host's own types to the track's, and back with every bound checked.

mod convert;
mod imports;
mod link;

use std::sync::Arc;

use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, Service};
use futures::FutureExt;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bounds::{self, MAX_FILTERS, MAX_PAYLOAD, MAX_URL, at_most, bad, bytes, key, word};
use crate::capability::config::Sees;
use crate::capability::wasi::Moment;
use crate::chain::ChainReader;
use crate::error::{CallError, LoadError, ProcessError};
use crate::sandbox::call::{Code, Context, text as engine_text};
use crate::sandbox::imports::{CallState, ChainAccess};
use crate::values::{
    AggregateKey, Candidate, Decision, Descriptor, EventFilter, PeerResponse, Plan, Signable, SubmissionCertificate,
    Task, Trigger,
};
use convert::{
    decision, directory_error, filter, from_block, from_candidate, from_certificate, from_service, from_task,
    from_trigger, plan, signables, source_error, submission_error, task_error,
};
pub(crate) use link::{Exports, Found, add_to_linker, import};

mod bindings {
    #![allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::indexing_slicing)]
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is the macro's code")]

    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        inline: "
            package eigenshift:host;
            world host {
                import eigenshift:avs/chain@0.1.0;
                import eigenshift:avs/log@0.1.0;
                export eigenshift:avs/task-lifecycle@0.1.0;
                export eigenshift:avs/task-source@0.1.0;
                export eigenshift:avs/task-submission@0.1.0;
                export eigenshift:avs/rotation@0.1.0;
                export eigenshift:avs/operator-directory@0.1.0;
            }
        ",
        world: "eigenshift:host/host",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

use bindings::eigenshift::avs::{chain as wit_chain, log as wit_log, types as wit};
use bindings::exports::eigenshift::avs::{
    operator_directory as wit_directory, rotation as wit_rotation, task_lifecycle as wit_lifecycle,
    task_source as wit_source, task_submission as wit_submission,
};

/// Which imports work: the columns of PROTOCOL §10.
enum Uses {
    /// No import.
    Nothing,
    /// `log` and the bundle's own configuration: equal calls give equal results on every operator.
    Pure,
    /// `log` and the configuration.
    Local,
    /// These and the chain, at this block.
    Chain(Arc<dyn ChainReader>, BlockRef),
    /// Everything that is granted; the chain at this block.
    All(Arc<dyn ChainReader>, BlockRef),
}

fn context(export: &'static str, service: Option<&Service>, task: Option<u32>, uses: Uses) -> Context {
    let outside = matches!(uses, Uses::All(..));
    let (log, config, chain) = match uses {
        Uses::Nothing => (false, Sees::Nothing, None),
        Uses::Pure => (true, Sees::Pinned, None),
        Uses::Local => (true, Sees::Local, None),
        Uses::Chain(reader, bound) | Uses::All(reader, bound) => {
            (true, Sees::Local, Some(ChainAccess::new(reader, bound)))
        }
    };
    let moment = service.map_or(Moment::default(), |service| Moment {
        chain_id: service.chain_id,
        service_manager: service.service_manager,
        time: 0,
    });
    Context { export, avs: service.map(|service| service.avs.clone()), task, log, chain, config, outside, moment }
}

fn task_context(export: &'static str, task: &Task, uses: Uses) -> Context {
    let mut context = context(export, Some(&task.service), Some(task.index), uses);
    context.moment.time = task.reference_time;
    context
}

/// One typed call: `invoke!(code, indices, context, |guest, store| guest.call_x(store, ...))`.
macro_rules! invoke {
    ($code:expr, $indices:expr, $context:expr, |$guest:ident, $store:ident| $call:expr) => {{
        let indices = $indices.clone();
        $code.call($context, move |$store, instance| {
            async move {
                let $guest = indices.load(&mut *$store, &instance)?;
                $call.await
            }
            .boxed()
        })
    }};
}

impl Exports {
    /// The smoke test: instantiates, checks the types of everything exported, calls `describe`.
    pub(crate) async fn describe(&self, code: &Code) -> Result<Descriptor, LoadError> {
        let exports = self.clone();
        let outcome = code
            .call(context("describe", None, None, Uses::Nothing), move |store, instance| {
                async move {
                    // Types are the load's business, not the call's: they are told apart by the inner result.
                    macro_rules! load {
                        ($indices:expr) => {
                            match $indices.load(&mut *store, &instance) {
                                Ok(guest) => guest,
                                Err(error) => return Ok(Err(engine_text(&error))),
                            }
                        };
                    }
                    let guest = load!(exports.lifecycle);
                    if let Some(indices) = &exports.source {
                        load!(indices);
                    }
                    if let Some(indices) = &exports.submission {
                        load!(indices);
                    }
                    if let Some(indices) = &exports.rotation {
                        load!(indices);
                    }
                    if let Some(indices) = &exports.directory {
                        load!(indices);
                    }
                    guest.call_describe(store).await.map(Ok)
                }
                .boxed()
            })
            .await;
        let described = outcome.map_err(LoadError::Describe)?.map_err(LoadError::WrongTypes)?;
        Ok(Descriptor {
            name: code.redactor.text(&described.name),
            version: code.redactor.text(&described.version),
            schema: code.redactor.text(&described.schema),
        })
    }

    /// As the call that follows, with nothing of the host around it; see [`crate::floor`].
    pub(crate) async fn bare_on_task_request(
        &self,
        pre: &InstancePre<CallState>,
        store: &mut Store<CallState>,
        task: &Task,
    ) -> wasmtime::Result<usize> {
        let argument = from_task(task);
        let instance = pre.instantiate_async(&mut *store).await?;
        let guest = self.lifecycle.load(&mut *store, &instance)?;
        let answers = guest.call_on_task_request(&mut *store, &argument).await?;
        Ok(answers.map_or(0, |answers| answers.iter().map(Vec::len).sum()))
    }

    pub(crate) async fn on_task_request(
        &self,
        code: &Code,
        task: &Task,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Vec<Bytes>, CallError> {
        self.answers(code, task, Uses::All(chain, task.reference_block)).await
    }

    /// `on-task-request` of a golden task: as pure as the two other callbacks.
    pub(crate) async fn on_golden(&self, code: &Code, task: &Task) -> Result<Vec<Bytes>, CallError> {
        self.answers(code, task, Uses::Pure).await
    }

    async fn answers(&self, code: &Code, task: &Task, uses: Uses) -> Result<Vec<Bytes>, CallError> {
        let argument = from_task(task);
        let context = task_context("on-task-request", task, uses);
        let answers =
            invoke!(code, self.lifecycle, context, |guest, store| guest.call_on_task_request(store, &argument)).await?;
        let answers = answers.map_err(|error| task_error(error, &code.redactor))?;
        at_most("answers", answers.len(), code.limits.keys_per_task as usize)?;
        answers.into_iter().map(|answer| bytes("an answer", answer, MAX_PAYLOAD)).collect()
    }

    pub(crate) async fn on_submit(
        &self,
        code: &Code,
        task: &Task,
        responses: &[Bytes],
    ) -> Result<Vec<Signable>, CallError> {
        let argument = from_task(task);
        let responses: Vec<Vec<u8>> = responses.iter().map(|response| response.to_vec()).collect();
        let context = task_context("on-submit-task-to-leader", task, Uses::Pure);
        let items = invoke!(code, self.lifecycle, context, |guest, store| guest
            .call_on_submit_task_to_leader(store, &argument, &responses))
        .await?;
        let items = items.map_err(|error| task_error(error, &code.redactor))?;
        signables(items, code.limits.keys_per_task, &code.redactor)
    }

    pub(crate) async fn on_process(
        &self,
        code: &Code,
        task: &Task,
        response: &PeerResponse,
    ) -> Result<AggregateKey, ProcessError> {
        let argument = from_task(task);
        let response = wit_lifecycle::PeerResponse {
            operator_id: response.operator_id.0.to_vec(),
            payload: response.payload.to_vec(),
            extension: response.extension.to_vec(),
        };
        let context = task_context("on-leader-process-task-response", task, Uses::Pure);
        let verdict = invoke!(code, self.lifecycle, context, |guest, store| guest
            .call_on_leader_process_task_response(store, &argument, &response))
        .await?;
        let counts = verdict.map_err(|rejection| ProcessError::Rejected {
            code: bounds::code(rejection.code, &code.redactor),
            message: code.redactor.text(&rejection.message),
        })?;
        Ok(AggregateKey {
            task_index: counts.task_index,
            key: key(counts.key)?,
            digest: word("a digest", &counts.digest)?,
        })
    }

    pub(crate) async fn event_filters(&self, code: &Code, service: &Service) -> Result<Vec<EventFilter>, CallError> {
        let indices = self.source.as_ref().ok_or(CallError::Unsupported)?;
        let argument = from_service(service);
        let context = context("event-filters", Some(service), None, Uses::Local);
        let filters =
            invoke!(code, indices, context, |guest, store| guest.call_event_filters(store, &argument)).await?;
        at_most("event filters", filters.len(), MAX_FILTERS)?;
        filters.into_iter().map(filter).collect()
    }

    pub(crate) async fn on_trigger(
        &self,
        code: &Code,
        service: &Service,
        block: BlockRef,
        trigger: &Trigger,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Plan, CallError> {
        let indices = self.source.as_ref().ok_or(CallError::Unsupported)?;
        let (argument, at, trigger) = (from_service(service), from_block(&block), from_trigger(trigger));
        let context = context("on-trigger", Some(service), None, Uses::Chain(chain, block));
        let planned = invoke!(code, indices, context, |guest, store| guest
            .call_on_trigger(store, &argument, &at, &trigger))
        .await?;
        let planned = planned.map_err(|error| source_error(error, &code.redactor))?;
        plan(planned, code.limits.keys_per_task, &code.redactor)
    }

    pub(crate) async fn submit(
        &self,
        code: &Code,
        task: &Task,
        certificates: &[SubmissionCertificate],
        is_final: bool,
        block: BlockRef,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Decision, CallError> {
        let indices = self.submission.as_ref().ok_or(CallError::Unsupported)?;
        let (argument, at) = (from_task(task), from_block(&block));
        let certificates: Vec<_> = certificates.iter().map(from_certificate).collect();
        let context = task_context("submit", task, Uses::Chain(chain, block));
        let decided = invoke!(code, indices, context, |guest, store| guest.call_submit(
            store,
            &argument,
            &certificates,
            is_final,
            &at
        ))
        .await?;
        decision(decided.map_err(|error| submission_error(error, &code.redactor))?, &code.redactor)
    }

    pub(crate) async fn is_answered(
        &self,
        code: &Code,
        task: &Task,
        block: BlockRef,
        chain: Arc<dyn ChainReader>,
    ) -> Result<bool, CallError> {
        let indices = self.submission.as_ref().ok_or(CallError::Unsupported)?;
        let (argument, at) = (from_task(task), from_block(&block));
        let context = task_context("is-answered", task, Uses::Chain(chain, block));
        invoke!(code, indices, context, |guest, store| guest.call_is_answered(store, &argument, &at))
            .await?
            .map_err(|error| submission_error(error, &code.redactor))
    }

    pub(crate) async fn next(
        &self,
        code: &Code,
        candidates: &[Candidate],
        last: Option<OperatorId>,
        seed: B256,
    ) -> Result<usize, CallError> {
        let indices = self.rotation.as_ref().ok_or(CallError::Unsupported)?;
        let argument: Vec<_> = candidates.iter().map(from_candidate).collect();
        let (last, seed) = (last.map(|last| last.0.to_vec()), seed.to_vec());
        let context = context("next", None, None, Uses::Nothing);
        let chosen =
            invoke!(code, indices, context, |guest, store| guest.call_next(store, &argument, last.as_ref(), &seed))
                .await?;
        // The WIT's rule for an index out of range.
        Ok(usize::try_from(chosen).ok().filter(|chosen| *chosen < candidates.len()).unwrap_or(0))
    }

    pub(crate) async fn is_registered_operator(
        &self,
        code: &Code,
        service: &Service,
        block: BlockRef,
        operator: Address,
        chain: Arc<dyn ChainReader>,
    ) -> Result<bool, CallError> {
        let indices = self.directory.as_ref().ok_or(CallError::Unsupported)?;
        let (argument, at, operator) = (from_service(service), from_block(&block), operator.to_vec());
        let context = context("is-registered-operator", Some(service), None, Uses::Chain(chain, block));
        invoke!(code, indices, context, |guest, store| guest
            .call_is_registered_operator(store, &argument, &at, &operator))
        .await?
        .map_err(|error| directory_error(error, &code.redactor))
    }

    pub(crate) async fn fetch_operator_url(
        &self,
        code: &Code,
        service: &Service,
        block: BlockRef,
        operator: Address,
        chain: Arc<dyn ChainReader>,
    ) -> Result<Option<String>, CallError> {
        let indices = self.directory.as_ref().ok_or(CallError::Unsupported)?;
        let (argument, at, operator) = (from_service(service), from_block(&block), operator.to_vec());
        let context = context("fetch-operator-url", Some(service), None, Uses::Chain(chain, block));
        let url = invoke!(code, indices, context, |guest, store| guest
            .call_fetch_operator_url(store, &argument, &at, &operator))
        .await?
        .map_err(|error| directory_error(error, &code.redactor))?;
        if let Some(url) = &url {
            at_most("bytes of a URL", url.len(), MAX_URL)?;
            if url.contains(|c: char| c.is_control() || c.is_whitespace()) {
                return Err(bad("a URL with spaces or control characters"));
            }
        }
        Ok(url)
    }
}
