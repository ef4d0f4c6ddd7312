//! How the Redis of a tenant are, as they and their Sentinels say. Asks them; decides nothing.

pub mod cluster;

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use keystead_crds::Topology;
use keystead_route::SecretText;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisError, TlsCertificates, Value, aio::MultiplexedConnection,
};

use super::names;
use cluster::View;

/// For each step of asking: who takes longer is taken for not answering.
const PATIENCE: Duration = Duration::from_secs(1);

/// The user that no Sentinel knows.
const REPLICATION: &str = "replication";

/// A member as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Of its pod and its Service.
    pub name: String,
    /// Of its Service.
    pub ip: String,
    /// What its Redis says; none where it does not answer.
    pub says: Option<Says>,
    /// Of its Redis, by its own word.
    pub version: Option<String>,
    /// Whom its Sentinel names as the primary, by address.
    pub names: Option<String>,
    /// What it knows of a Cluster; none in another topology, or where it does not answer.
    pub knows: Option<View>,
    /// It takes the next passwords, where there are any; and so does its Sentinel.
    pub accepts_next: bool,
}

/// What a Redis says of its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    Primary {
        /// By address: seconds since it was heard of.
        replicas: Vec<(String, i64)>,
    },
    Replica {
        /// It has what its primary has, but for what is under way.
        in_sync: bool,
        /// It may become the primary.
        is_candidate: bool,
    },
}

/// Asks all members at once. `next` are the passwords to come, by user; `ca` whom to trust, as PEM, where they speak TLS.
pub async fn look(
    addresses: &[(String, String)],
    topology: Topology,
    password: &SecretText,
    next: &BTreeMap<String, SecretText>,
    ca: Option<&str>,
) -> Vec<Member> {
    let monitor = Login { user: names::MONITOR_USER, password, ca };
    let have_sentinels = topology == Topology::Replicated;
    join_all(addresses.iter().map(async |(name, ip)| {
        let vote = async { if have_sentinels { named(ip, &monitor).await.ok() } else { None } };
        let accepts = join_all(next.iter().map(async |(user, password)| {
            let login = Login { user, password, ca };
            let ping = async |port| ask::<()>(ip, port, &login, &redis::cmd("PING")).await.is_ok();
            let is_at_sentinel = have_sentinels && user != REPLICATION;
            ping(names::REDIS_PORT).await && (!is_at_sentinel || ping(names::SENTINEL_PORT).await)
        }));
        let nodes =
            async { if topology == Topology::Cluster { nodes(ip, &monitor).await.ok() } else { None } };
        let (info, names, nodes, accepts) = futures::join!(says(ip, &monitor), vote, nodes, accepts);
        let accepts_next = !next.is_empty() && accepts.into_iter().all(|accepts| accepts);
        let knows = info.as_ref().ok().zip(nodes).map(|(info, nodes)| View::parse(&nodes, info));
        let info = info.unwrap_or_default();
        let version = field(&info, "redis_version").map(str::to_owned);
        Member { name: name.clone(), ip: ip.clone(), says: parse(&info), version, names, knows, accepts_next }
    }))
    .await
}

/// Who asks.
#[derive(Debug)]
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a SecretText,
    /// Whom to trust, as PEM, where Redis speaks TLS.
    pub ca: Option<&'a str>,
}

/// Whom most of the Sentinels name, of all that there are.
pub fn named_by_most(members: &[Member]) -> Option<&Member> {
    members.iter().find(|member| {
        let votes = members.iter().filter(|it| it.names.as_ref() == Some(&member.ip)).count();
        votes * 2 > members.len()
    })
}

/// The primary: named by most of the Sentinels, and one by its own word.
pub fn primary(members: &[Member]) -> Option<&Member> {
    named_by_most(members).filter(|it| matches!(it.says, Some(Says::Primary { .. })))
}

async fn says(ip: &str, login: &Login<'_>) -> Result<String, RedisError> {
    ask(ip, names::REDIS_PORT, login, redis::cmd("INFO").arg("server").arg("replication").arg("keyspace"))
        .await
}

async fn nodes(ip: &str, login: &Login<'_>) -> Result<String, RedisError> {
    ask(ip, names::REDIS_PORT, login, redis::cmd("CLUSTER").arg("NODES")).await
}

async fn named(ip: &str, login: &Login<'_>) -> Result<String, RedisError> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(names::PRIMARY);
    let (address, _port): (String, String) = ask(ip, names::SENTINEL_PORT, login, &question).await?;
    Ok(address)
}

async fn ask<T: FromRedisValue>(
    ip: &str,
    port: i32,
    login: &Login<'_>,
    question: &redis::Cmd,
) -> Result<T, RedisError> {
    question.query_async(&mut connect(ip, port, login).await?).await
}

/// Asks one Redis many things at once: an answer, or why there is none, for each.
pub async fn ask_all(
    ip: &str,
    password: &SecretText,
    ca: Option<&str>,
    questions: &Pipeline,
) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
    let monitor = Login { user: names::MONITOR_USER, password, ca };
    questions.query_async(&mut connect(ip, names::REDIS_PORT, &monitor).await?).await
}

/// A connection of who asks.
pub(super) async fn connect(
    ip: &str,
    port: i32,
    login: &Login<'_>,
) -> Result<MultiplexedConnection, RedisError> {
    let ca = login.ca;
    let login = RedisConnectionInfo::default()
        .set_username(login.user)
        .set_password(login.password.expose())
        .set_skip_set_lib_name();
    let port = u16::try_from(port).unwrap_or_default();
    let host = ip.to_owned();
    let address = match ca {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    };
    let address = address.into_connection_info()?.set_redis_settings(login);
    let client = match ca {
        None => Client::open(address)?,
        Some(ca) => {
            let trusted = TlsCertificates { client_tls: None, root_cert: Some(ca.into()) };
            Client::build_with_tls(address, trusted)?
        }
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

/// Reads `INFO replication`: <https://redis.io/docs/latest/commands/info/>.
fn parse(info: &str) -> Option<Says> {
    let field = |name: &str| field(info, name);
    Some(match field("role")? {
        "master" => {
            let part = |line: &str, name: &str| {
                let mut parts = line.trim_end().split([',', ':']);
                parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
            };
            let replica = |line: &str| {
                let number = line.strip_prefix("slave")?.split(':').next()?;
                number.parse::<u32>().ok()?;
                (part(line, "state")? == "online").then_some(())?;
                Some((part(line, "ip")?, part(line, "lag")?.parse().ok()?))
            };
            Says::Primary { replicas: info.lines().filter_map(replica).collect() }
        }
        "slave" => Says::Replica {
            in_sync: field("master_link_status") == Some("up")
                && field("master_sync_in_progress") == Some("0"),
            is_candidate: field("slave_priority").is_some_and(|priority| priority != "0"),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_tells_of_the_replicas_that_follow_it() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
            slave0:ip=10.1.0.2,port=6379,state=online,offset=98,lag=0\r\n\
            slave1:ip=10.1.0.3,port=6379,state=send_bulk,offset=0,lag=0\r\nmaster_repl_offset:98\r\n";
        assert_eq!(parse(info), Some(Says::Primary { replicas: vec![("10.1.0.2".into(), 0)] }));
    }

    #[test]
    fn a_replica_is_in_sync_with_a_link_and_no_transfer() {
        let info = |link: &str, transfer: &str, priority: &str| {
            format!(
                "role:slave\r\nmaster_link_status:{link}\r\nmaster_sync_in_progress:{transfer}\r\nslave_priority:{priority}\r\n"
            )
        };
        let says = |in_sync, is_candidate| Some(Says::Replica { in_sync, is_candidate });
        assert_eq!(parse(&info("up", "0", "100")), says(true, true));
        assert_eq!(parse(&info("up", "0", "0")), says(true, false));
        assert_eq!(parse(&info("down", "0", "100")), says(false, true));
        assert_eq!(parse(&info("up", "1", "100")), says(false, true));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_primary_is_who_most_name_and_who_says_so_too() {
        let member = |number: u8, is_primary: bool, names: u8| Member {
            name: format!("redis-{number}"),
            ip: format!("10.1.0.{number}"),
            says: Some(if is_primary {
                Says::Primary { replicas: Vec::new() }
            } else {
                Says::Replica { in_sync: true, is_candidate: true }
            }),
            version: None,
            knows: None,
            names: (names < 9).then(|| format!("10.1.0.{names}")),
            accepts_next: false,
        };
        let name = |members: &[Member]| primary(members).map(|it| it.name.clone());
        assert_eq!(name(&[member(0, true, 0), member(1, false, 0), member(2, false, 9)]).unwrap(), "redis-0");
        // One that was cut off still takes itself for the primary.
        assert_eq!(name(&[member(0, true, 0), member(1, true, 1), member(2, false, 1)]).unwrap(), "redis-1");
        assert_eq!(name(&[member(0, true, 1), member(1, false, 1), member(2, false, 0)]), None);
        assert_eq!(name(&[member(0, true, 0), member(1, false, 9), member(2, false, 9)]), None);
    }
}
