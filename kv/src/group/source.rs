//! Who is asked which member takes the writes: Sentinels, or the members of a cluster's shard.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{Client, FromRedisValue as _, Value, cmd};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    primary::{Named, address},
    roster::{self, OnView, Roster},
    tracker::{STEP, brief},
};
use crate::{cluster::View, lines::Line, options::ConnectOptions};

/// What Sentinels tell by themselves.
const CHANNEL: &str = "+switch-master";

/// One of them, and the connection on which it is asked.
pub(super) struct Source {
    pub(super) place: usize,
    client: Client,
    question: Question,
    line: Option<Line>,
    hurry: Arc<Notify>,
}

enum Question {
    /// To a Sentinel, by the name that the primary has there.
    Primary(String),
    /// To the member at this address.
    Nodes { of: String, roster: Arc<Roster>, on_view: OnView },
}

/// All of a group's. `hurry` ends the wait for the next question.
pub(super) fn sources(options: &ConnectOptions, roster: &Arc<Roster>, hurry: &Arc<Notify>) -> Vec<Source> {
    let addresses = match &roster.source {
        roster::Source::Alone => &[][..],
        roster::Source::Sentinels { addresses, .. } => addresses,
        roster::Source::Cluster(_) => &roster.members,
    };
    // What is no address was refused before.
    let clients = addresses.iter().filter_map(|of| Some((of, options.client_of(of).ok()?)));
    let source = |(place, (of, client)): (usize, (&String, Client))| {
        let question = match &roster.source {
            roster::Source::Alone => return None,
            roster::Source::Sentinels { name, .. } => Question::Primary(name.clone()),
            roster::Source::Cluster(on_view) => {
                Question::Nodes { of: of.clone(), roster: roster.clone(), on_view: on_view.clone() }
            }
        };
        Some(Source { place, client, question, line: None, hurry: hurry.clone() })
    };
    clients.enumerate().filter_map(source).collect()
}

impl Source {
    /// Asks it once this time has passed, or somebody is in a hurry.
    pub(super) async fn ask(mut self: Box<Self>, wait: Duration) -> (Box<Self>, Option<Named>) {
        let hurry = self.hurry.clone();
        tokio::select! {
            () = sleep(wait) => {}
            () = hurry.notified() => {}
        }
        let named = timeout(STEP, self.named()).await.ok().flatten();
        if named.is_none() {
            self.line = None;
        }
        (self, named)
    }

    /// Whom it names, and the version of that.
    async fn named(&mut self) -> Option<Named> {
        let line = match self.line.take().filter(|line| !line.is_closed()) {
            Some(line) => line,
            None => self.connect().await?,
        };
        let named = match &self.question {
            Question::Primary(name) => by_sentinel(&line, name).await,
            Question::Nodes { of, roster, on_view } => {
                let nodes = line.one(cmd("CLUSTER").arg("NODES")).await.ok()?;
                let view = View::of(&String::from_redis_value(nodes).ok()?, of);
                on_view(&view);
                view.primary_of(&roster.members)
            }
        };
        self.line = Some(line);
        named
    }

    async fn connect(&self) -> Option<Line> {
        let hurry = self.hurry.clone();
        // Whatever it tells: it is asked what is true now, and so are the others.
        let told = Arc::new(move |_: &redis::PushInfo| hurry.notify_waiters());
        let line = Line::connect(&self.client, brief(), told).await.ok()?;
        if matches!(self.question, Question::Primary(_)) {
            line.connection().subscribe(CHANNEL).await.ok()?;
        }
        Some(line)
    }
}

/// The one who leads a failover names the new address only in the first of these answers until all is done.
async fn by_sentinel(line: &Line, name: &str) -> Option<Named> {
    let mut questions = redis::pipe();
    questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    questions.cmd("SENTINEL").arg("MASTER").arg(name);
    let answers = line.all(&questions).await.ok()?;
    let [place, state] = <[Value; 2]>::try_from(answers).ok()?;
    let (host, port) = <(String, String)>::from_redis_value(place).ok()?;
    let state = HashMap::<String, String>::from_redis_value(state).ok()?;
    Some(Named { address: address(&host, &port), epoch: state.get("config-epoch")?.parse().ok()? })
}
