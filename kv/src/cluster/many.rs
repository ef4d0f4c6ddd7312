//! Many commands at once: those of a shard go together, and each is sent on by itself.

use std::time::Instant;

use futures::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::time::sleep;

use super::{Cluster, Journey, PAUSE, guard::guarded, slots::slot_of};
use crate::{
    error::{Effect, Failed},
    group::{Answers, Group, Redirect, redirect},
};

impl Cluster {
    /// Gives an answer for each command. The first `loads` of them make scripts known, wherever one of the others goes; those
    /// must be such that their order does not matter.
    pub(crate) async fn many(
        &self,
        commands: &Pipeline,
        loads: usize,
        effect: Effect,
    ) -> Result<Answers, Failed> {
        let begun = Instant::now();
        let load: Vec<&Cmd> = commands.cmd_iter().take(loads).collect();
        let own: Vec<Cmd> = commands
            .cmd_iter()
            .skip(loads)
            .map(|command| guarded(command).unwrap_or_else(|| command.clone()))
            .collect();
        let mut answers: Vec<Option<Result<Value, Failed>>> = vec![None; own.len()];
        let mut open: Vec<usize> = (0..own.len()).collect();
        while !open.is_empty() {
            let mut parts: Vec<Vec<usize>> = vec![Vec::new(); self.shards.len()];
            for place in std::mem::take(&mut open) {
                match Journey::new(self, slot_of(&own[place])).shard().await {
                    Ok((shard, _)) => parts[shard].push(place),
                    Err(failed) => answers[place] = Some(Err(failed)),
                }
            }
            let parts = parts.into_iter().enumerate().filter(|(_, places)| !places.is_empty());
            let said = join_all(parts.map(async |(shard, places)| {
                let mut together = redis::pipe();
                for command in load.iter().copied().chain(places.iter().map(|place| &own[*place])) {
                    together.add_command(command.clone());
                }
                let said =
                    self.at(shard, async |group: &Group| group.many(&together, loads, effect).await).await;
                (places, said)
            }))
            .await;
            let is_over = begun.elapsed() >= self.options.hold;
            let (mut asks, mut must_wait) = (Vec::new(), false);
            for (places, said) in said {
                let said = match said {
                    Ok(said) => said,
                    // It was held already.
                    Err(failed) => {
                        for place in places {
                            answers[place] = Some(Err(failed.clone()));
                        }
                        continue;
                    }
                };
                for (place, answer) in places.into_iter().zip(said) {
                    let failed = match answer {
                        Err(failed) if !is_over => failed,
                        answer => {
                            answers[place] = Some(answer);
                            continue;
                        }
                    };
                    match redirect(&failed) {
                        Some(Redirect::Moved(address)) => {
                            let slot = slot_of(&own[place]);
                            must_wait |= !slot.is_some_and(|slot| self.mend(slot, &address));
                            open.push(place);
                        }
                        Some(Redirect::Ask(_)) => asks.push(place),
                        // One of several was refused for now, and those behind it were not.
                        None if failed.is_harmless() => {
                            must_wait = true;
                            open.push(place);
                        }
                        None => answers[place] = Some(Err(failed)),
                    }
                }
            }
            let own = &own;
            let asked = join_all(
                asks.into_iter().map(async |place| (place, self.one(&own[place], None, effect).await)),
            );
            for (place, answer) in asked.await {
                answers[place] = Some(answer);
            }
            if must_wait {
                sleep(PAUSE).await;
            }
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or(Err(Failed::Unconfirmed))).collect())
    }

    /// Gives an answer for each command, of one connection to the primary of the last one's key. Where that key is being moved,
    /// only its own is given, and the others are refused.
    pub(crate) async fn together(&self, commands: &Pipeline, effect: Effect) -> Result<Answers, Failed> {
        let Some(last) = commands.cmd_iter().last() else { return Ok(Vec::new()) };
        let mut journey = Journey::new(self, slot_of(last));
        loop {
            let (shard, is_asking) = journey.shard().await?;
            if is_asking {
                let answer = self.one(last, None, effect).await;
                let refused =
                    |_: &Cmd| Err(Failed::NotSent("the key is being moved to another shard".into()));
                let others = commands.cmd_iter().take(commands.len() - 1).map(refused);
                return Ok(others.chain([answer]).collect());
            }
            let answers = self.at(shard, async |group: &Group| group.many(commands, 0, effect).await).await?;
            match answers.last() {
                Some(Err(failed)) if redirect(failed).is_some() && journey.goes_on(failed).await => {}
                _ => return Ok(answers),
            }
        }
    }
}
