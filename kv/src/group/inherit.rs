//! Writes that nobody has confirmed because their primary has handed over: whether the next primary has them.
//!
//! A primary that pauses its clients asks no replica what it has, and whoever waits for that is told only that the role has
//! changed. But histories can be compared: a promoted replica tells up to which offset it shares its predecessor's
//! (`master_replid2`, `second_repl_offset`).

use std::time::{Duration, Instant};

use redis::{FromRedisValue as _, Value, cmd};

use super::{Group, generation::Generation};
use crate::{error::Failed, lines::Line};

/// How long to wait before the next primary is asked again.
const PAUSE: Duration = Duration::from_millis(25);

/// The address that all read replicas announce, by which nobody promotes them: what they have may be lost.
const READER: &str = "ip=192.0.2.1,";

/// A place in a primary's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The id of the history.
    pub(super) history: String,
    pub(super) offset: u64,
}

/// The id of the history that a primary writes. It takes another when its first replica comes: before that there is none that
/// is worth keeping, and nobody who could confirm a write.
pub(super) async fn history(line: &Line) -> Result<String, Failed> {
    let info = String::from_redis_value(line.one(cmd("INFO").arg("replication")).await?);
    let id = lasting_id(&info.unwrap_or_default()).map(str::to_owned);
    id.ok_or_else(|| Failed::NotSent("the primary has had no replica yet, and a write needs one".into()))
}

fn lasting_id(info: &str) -> Option<&str> {
    field(info, "master_replid").filter(|_| field(info, "repl_backlog_active") == Some("1"))
}

/// Where the primary is in its history, by its answer to `ROLE`; none where it is no primary any more.
pub(super) fn offset(role: &Value) -> Option<u64> {
    let Value::Array(role) = role else { return None };
    match (role.first()?, role.get(1)?) {
        (Value::BulkString(role), Value::Int(offset)) if role == b"master" => u64::try_from(*offset).ok(),
        _ => None,
    }
}

/// Up to where a former primary has written this history, once it follows its successor without having had to let go of
/// anything. None where it had to, or does not say so in time.
pub(super) async fn last_offset(line: &Line, history: &str, within: Duration) -> Option<u64> {
    let until = Instant::now() + within;
    loop {
        let info = String::from_redis_value(line.one(cmd("INFO").arg("replication")).await.ok()?).ok()?;
        if let Some(offset) = kept(&info, history) {
            return Some(offset);
        }
        if Instant::now() >= until {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn kept(info: &str, history: &str) -> Option<u64> {
    let is_in_sync = field(info, "role") == Some("slave") && field(info, "master_link_status") == Some("up");
    let next: u64 = field(info, "second_repl_offset")?.parse().ok()?;
    (is_in_sync && field(info, "master_replid2") == Some(history)).then(|| next.saturating_sub(1))
}

impl Group {
    /// Whether the primary after this one, and as many replicas of it, have everything up to this place.
    pub(super) async fn is_inherited(&self, before: &Generation, mark: &Mark, replicas: usize) -> bool {
        self.doubt();
        let until = Instant::now() + self.options.hold;
        let mut changes = self.changes.subscribe();
        let other = changes.wait_for(|number| *number != before.number && *number != 0);
        let _ = tokio::time::timeout(self.options.hold, other).await;
        while let Some(next) = self.current.load_full().filter(|next| next.number != before.number) {
            match next.has(mark).await {
                Ok(Some(have)) if have >= replicas => return true,
                // Its replicas come back one after the other.
                Ok(Some(_)) | Err(_) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                _ => return false,
            }
        }
        false
    }
}

impl Generation {
    /// How many of its replicas have everything up to this place; none where it has it not itself.
    async fn has(&self, mark: &Mark) -> Result<Option<usize>, Failed> {
        let line = self.reads.line().await?;
        let info = String::from_redis_value(line.one(cmd("INFO").arg("replication")).await?);
        Ok(info.ok().and_then(|info| holders(&info, mark)))
    }
}

fn holders(info: &str, mark: &Mark) -> Option<usize> {
    let shared: u64 = field(info, "second_repl_offset")?.parse().ok()?;
    // The first offset that is not shared.
    let is_shared = field(info, "master_replid2") == Some(&mark.history) && mark.offset < shared;
    let has_it = |line: &&str| {
        let offset = line.split(',').find_map(|part| part.strip_prefix("offset="));
        line.starts_with("slave")
            && !line.contains(READER)
            && line.contains("state=online")
            && offset.and_then(|text| text.parse::<u64>().ok()) >= Some(mark.offset)
    };
    is_shared.then(|| info.lines().filter(has_it).count())
}

pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "role:master\r\nconnected_slaves:2\r\n\
        slave0:ip=127.1.1.1,port=6379,state=online,offset=120,lag=0\r\n\
        slave1:ip=127.1.1.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
        master_replid:new\r\nmaster_replid2:old\r\nmaster_repl_offset:130\r\nsecond_repl_offset:101\r\n";

    #[test]
    fn a_write_is_inherited_where_the_histories_part_behind_it() {
        let holders = |history: &str, offset| holders(INFO, &Mark { history: history.into(), offset });
        assert_eq!(holders("old", 100), Some(1));
        assert_eq!(holders("old", 101), None, "written after the other was promoted");
        assert_eq!((holders("new", 100), holders("other", 100)), (None, None));
    }

    #[test]
    fn what_only_readers_have_is_not_inherited() {
        let reader = INFO.replace("ip=127.1.1.1", "ip=192.0.2.1");
        assert_eq!(holders(&reader, &Mark { history: "old".into(), offset: 100 }), Some(0));
    }

    #[test]
    fn a_primary_without_a_backlog_will_take_another_id() {
        let info =
            |active: u8| format!("role:master\r\nmaster_replid:one\r\nrepl_backlog_active:{active}\r\n");
        assert_eq!((lasting_id(&info(0)), lasting_id(&info(1))), (None, Some("one")));
    }

    #[test]
    fn a_former_primary_has_kept_what_it_wrote_where_it_goes_on_from_it() {
        let info = |link: &str, before: &str| {
            format!(
                "role:slave\r\nmaster_link_status:{link}\r\nmaster_replid:new\r\nmaster_replid2:{before}\r\nsecond_repl_offset:101\r\n"
            )
        };
        assert_eq!(kept(&info("up", "old"), "old"), Some(100));
        assert_eq!(kept(&info("down", "old"), "old"), None, "not yet");
        assert_eq!(kept(&info("up", "0000"), "old"), None, "it has fetched everything anew");
        assert_eq!(kept(INFO, "old"), None, "a primary");
    }

    #[test]
    fn only_a_primary_has_a_place_in_its_history() {
        let role = |name: &str| Value::Array(vec![Value::BulkString(name.into()), Value::Int(7)]);
        assert_eq!(
            (offset(&role("master")), offset(&role("slave")), offset(&Value::Nil)),
            (Some(7), None, None)
        );
    }
}
