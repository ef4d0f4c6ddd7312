//! Asks the Redis of a tenant what is used. Only those that take writes are asked: the others hold the same.

use std::collections::BTreeMap;

use futures::future::join_all;
use keystead_crds::Topology;
use keystead_route::SecretText;
use keystead_usage::{Index, Jobs, QUESTIONS, SECTIONS, Totals, indexes};
use redis::{ParsingError, RedisError, Value, from_redis_value_ref};

use super::Usage;
use crate::tenant::members::{self, ask_all, cluster};

/// Why it is not known what a tenant uses: half of it would mislead.
#[derive(Debug, thiserror::Error)]
pub enum NoUsage {
    #[error("no Redis takes the writes of {0}")]
    NoPrimary(String),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Answer(#[from] ParsingError),
    #[error("{0} cannot be seen at any Redis: {1}")]
    Nowhere(&'static str, String),
}

/// How the Redis of a tenant are reached.
#[derive(Debug)]
pub struct Target {
    pub topology: Topology,
    /// Of all members by name, or of the only one.
    pub addresses: Vec<(String, String)>,
    /// Numbers of the shards of a Cluster.
    pub shards: Vec<u8>,
    /// Of the user `monitor`.
    pub password: SecretText,
    /// Whom to trust, where they speak TLS.
    pub ca: Option<String>,
}

/// Asks; `now_ms` is the time since 1970.
pub async fn ask(target: &Target, now_ms: u64) -> Result<Usage, NoUsage> {
    let is_cluster = target.topology == Topology::Cluster;
    let mut questions = redis::pipe();
    questions.cmd("INFO").arg(&SECTIONS);
    Jobs::ask(&mut questions, now_ms);
    for index in indexes(is_cluster) {
        index.ask(&mut questions, now_ms);
    }
    // In a cluster each knows a part.
    questions.ignore_errors();
    let primaries = primaries(target).await?;
    let asked = primaries.iter().map(|ip| ask_all(ip, &target.password, target.ca.as_deref(), &questions));
    let mut told = Vec::new();
    for answers in join_all(asked).await {
        told.push(answers?);
    }
    read(&told, is_cluster, now_ms)
}

/// Addresses of those that take writes.
async fn primaries(target: &Target) -> Result<Vec<String>, NoUsage> {
    if target.topology == Topology::Standalone {
        return Ok(target.addresses.iter().map(|(_, ip)| ip.clone()).collect());
    }
    let nobody = BTreeMap::new();
    let ca = target.ca.as_deref();
    let members = members::look(&target.addresses, target.topology, &target.password, &nobody, ca).await;
    if target.topology == Topology::Replicated {
        let primary = members::primary(&members).ok_or_else(|| NoUsage::NoPrimary("the members".into()))?;
        return Ok(vec![primary.ip.clone()]);
    }
    let holding = target.shards.iter().filter(|shard| cluster::holds(&members, **shard));
    let primary = |shard: &u8| {
        let primary = cluster::primary(&members, *shard);
        primary.map(|it| it.ip.clone()).ok_or_else(|| NoUsage::NoPrimary(format!("shard {shard}")))
    };
    holding.map(primary).collect()
}

/// Puts together what each has said to all of the questions.
fn read(told: &[Vec<Result<Value, RedisError>>], is_cluster: bool, now_ms: u64) -> Result<Usage, NoUsage> {
    let mut sections = String::new();
    for answers in told {
        let info = answers.first().cloned().transpose()?;
        sections.push_str(&from_redis_value_ref::<String>(&info.unwrap_or(Value::Nil))?);
    }
    let jobs = anywhere(told, 1, QUESTIONS, "the queue")?;
    let (mut keys, mut expired) = (0, 0);
    for place in 0..indexes(is_cluster).len() {
        let (more, gone) = Index::count(&anywhere(told, 1 + QUESTIONS + 2 * place, 2, "the keys")?)?;
        keys += more;
        expired += gone;
    }
    Ok(Usage { keys, expired, totals: Totals::read(&sections), jobs: Jobs::read(&jobs, now_ms)? })
}

/// So many answers from this place on, of the one who gave all of them.
fn anywhere(
    told: &[Vec<Result<Value, RedisError>>],
    from: usize,
    count: usize,
    what: &'static str,
) -> Result<Vec<Value>, NoUsage> {
    let mut refused = String::new();
    for answers in told {
        let part: Result<Vec<Value>, &RedisError> =
            answers.iter().skip(from).take(count).map(|it| it.as_ref().cloned()).collect();
        match part {
            Ok(part) => return Ok(part),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(NoUsage::Nowhere(what, refused))
}
