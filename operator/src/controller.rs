//! Watches Tenants and their objects, and runs a pass over a tenant whenever something of it has changed. No decision is
//! made here.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    future::ready,
    sync::Arc,
};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use keystead_crds::Tenant;
use kube::{
    Api, Resource, ResourceExt,
    api::DynamicObject,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt, applier,
        controller::Config,
        reflector::{self, ObjectRef, store},
        watcher,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, Key, Seen},
    context::Context,
    kinds::Kind,
    metrics::Metrics,
    tenant::{Guarded, error_policy, names, reconcile, rotation},
    usage,
};

/// Passes at the same time. Each waits for the API server most of its time.
const CONCURRENCY: u16 = 16;

/// Runs until `shutdown`; then no pass begins any more, and those that run come to their end. `is_ready` becomes true
/// when everything has been seen once.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken, is_ready: watch::Sender<bool>) {
    let (news, heard) = mpsc::unbounded_channel();
    let (reader, writer) = store::<Guarded>();
    let tenants = tenants(&context, writer);
    let mut watches = tokio::task::JoinSet::new();
    let mut listed = Vec::new();
    for kind in Kind::ALL {
        let (done, first_list) = watch::channel(false);
        listed.push(first_list);
        watches.spawn(watch_kind(kind, context.clone(), news.clone(), done));
    }
    let heard = stream::unfold(heard, async |mut heard: mpsc::UnboundedReceiver<String>| {
        heard.recv().await.map(|name| (ObjectRef::<Guarded>::new(&name), heard))
    });
    let stopped = shutdown.clone();
    let queue = stream::select(tenants, heard)
        .take_until(async move { stopped.cancelled().await })
        .map(Ok::<_, Infallible>);

    // A pass that has not seen everything would take what it has not seen for missing.
    let everything_seen = async {
        for mut first_list in listed {
            if first_list.wait_for(|done| *done).await.is_err() {
                return;
            }
        }
        is_ready.send_replace(true);
    };
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = everything_seen => {}
    }
    watches.spawn(usage::watch::run(context.clone(), reader.clone(), news));
    let reconciler = |tenant, context| Box::pin(reconcile(tenant, context));
    applier(
        reconciler,
        error_policy,
        context,
        reader,
        Box::pin(queue),
        Config::default().concurrency(CONCURRENCY),
    )
    // Errors have been logged, or are those of a tenant that has gone.
    .for_each(|_| ready(()))
    .await;
    watches.shutdown().await;
}

/// Tenants whose spec has changed, that are being deleted, or whose finalizers were touched: not each write of a status.
fn tenants(
    context: &Arc<Context>,
    writer: store::Writer<Guarded>,
) -> impl Stream<Item = ObjectRef<Guarded>> + use<> {
    let api: Api<Guarded> = Api::all(context.client.0.clone());
    let metrics = context.metrics.clone();
    let mut known: HashMap<String, State> = HashMap::new();
    let strip = |tenant: &mut Guarded| {
        tenant.meta_mut().managed_fields = None;
    };
    let events = reflector::reflector(
        writer,
        watcher(api, watcher::Config::default()).default_backoff().modify(strip),
    );
    Box::pin(events).filter_map(move |event| {
        let changed = match event {
            Ok(watcher::Event::Apply(tenant) | watcher::Event::InitApply(tenant)) => {
                let state = State::of(&tenant);
                let name = tenant.name_any();
                let is_news = known.insert(name, state.clone()).is_none_or(|former| former != state);
                is_news.then(|| ObjectRef::from_obj(&tenant))
            }
            Ok(watcher::Event::Delete(tenant)) => {
                known.remove(&tenant.name_any());
                None
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Err(error) => {
                metrics.watch_failed("Tenant");
                tracing::warn!(%error, "the watch of Tenants failed, it begins anew");
                None
            }
        };
        ready(changed)
    })
}

/// What a pass follows from.
#[derive(Clone, PartialEq)]
struct State {
    uid: Option<String>,
    generation: Option<i64>,
    is_deleted: bool,
    finalizers: Vec<String>,
    /// The annotations that ask for something: they do not change the generation.
    requests: [Option<String>; 2],
}

impl State {
    fn of(tenant: &DeserializeGuard<Tenant>) -> Self {
        let metadata = tenant.meta();
        Self {
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            is_deleted: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            requests: [rotation::REQUEST_ANNOTATION, rotation::signing::REQUEST_ANNOTATION]
                .map(|request| tenant.annotations().get(request).cloned()),
        }
    }
}

/// Keeps the cache of one kind, and tells of each tenant for which something has changed.
async fn watch_kind(
    kind: Kind,
    context: Arc<Context>,
    news: mpsc::UnboundedSender<String>,
    done: watch::Sender<bool>,
) {
    let resource = kind.resource();
    let api: Api<DynamicObject> = Api::all_with(context.client.0.clone(), &resource);
    // By label, so that the memory needed is bounded by what was made for tenants.
    let config = watcher::Config::default().labels(&names::watch_selector(kind));
    let mut events = Box::pin(watcher(api, config).default_backoff().into_stream());
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let changed = take(kind, event, &context.cache, &mut listed, &context.metrics, &done);
        for tenant in changed {
            // The receiver is gone only at the end.
            let _ = news.send(tenant);
        }
    }
}

/// Takes an event into the cache; gives the tenants for which something has changed.
fn take(
    kind: Kind,
    event: Result<watcher::Event<DynamicObject>, watcher::Error>,
    cache: &Cache,
    listed: &mut HashSet<Key>,
    metrics: &Metrics,
    done: &watch::Sender<bool>,
) -> Vec<String> {
    let seen = |object: DynamicObject| Seen::new(kind, serde_json::to_value(object).ok()?);
    match event {
        Ok(watcher::Event::Init) => {
            listed.clear();
            Vec::new()
        }
        Ok(watcher::Event::InitApply(object)) => match seen(object) {
            Some((tenant, seen)) => {
                listed.insert(seen.key.clone());
                cache.insert(tenant, seen)
            }
            None => Vec::new(),
        },
        Ok(watcher::Event::InitDone) => {
            let changed = cache.retain(kind, listed);
            listed.clear();
            done.send_replace(true);
            changed
        }
        Ok(watcher::Event::Apply(object)) => {
            seen(object).map_or_else(Vec::new, |(tenant, seen)| cache.insert(tenant, seen))
        }
        Ok(watcher::Event::Delete(object)) => {
            seen(object).and_then(|(_, seen)| cache.remove(&seen)).into_iter().collect()
        }
        Err(error) => {
            metrics.watch_failed(kind.as_str());
            tracing::warn!(kind = kind.as_str(), %error, "a watch failed, it begins anew");
            Vec::new()
        }
    }
}
