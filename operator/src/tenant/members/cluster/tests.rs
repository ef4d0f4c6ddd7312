//! What the members say, as Redis 7.0 writes it, and what follows.

use super::*;

fn ip(shard: u8, ordinal: u8) -> String {
    format!("10.3.{shard}.{ordinal}")
}

fn id(shard: u8, ordinal: u8) -> String {
    format!("{:040x}", u32::from(shard) * 10 + u32::from(ordinal))
}

/// A shard of a world that the tests change: who leads it, with which slots.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub number: u8,
    pub primary: Option<u8>,
    /// As in `CLUSTER NODES`, with what is being moved.
    pub slots: String,
    /// It belongs to the cluster.
    pub is_known: bool,
}

/// So many shards of two, of which ordinal 0 leads and holds an equal part.
pub(crate) fn formed(shards: u8) -> Vec<Shard> {
    let first = |number: u8| SLOTS * u32::from(number) / u32::from(shards);
    (0..shards)
        .map(|number| Shard {
            number,
            primary: Some(0),
            slots: format!("{}-{}", first(number), first(number + 1) - 1),
            is_known: true,
        })
        .collect()
}

/// The same before anything was formed.
pub(crate) fn strangers(shards: u8) -> Vec<Shard> {
    let alone = |shard| Shard { primary: None, slots: String::new(), is_known: false, ..shard };
    formed(shards).into_iter().map(alone).collect()
}

fn line(shard: &Shard, ordinal: u8, is_self: bool) -> String {
    let myself = if is_self { "myself," } else { "" };
    let (id_, ip) = (id(shard.number, ordinal), ip(shard.number, ordinal));
    let address = format!("{ip}:6379@16379");
    let failed = if shard.primary.is_none() && shard.is_known { ",fail" } else { "" };
    match shard.primary {
        Some(primary) if primary != ordinal => {
            let leads = id(shard.number, primary);
            format!("{id_} {address} {myself}slave {leads} 0 1700000000000 3 connected")
        }
        _ => {
            let slots =
                if shard.primary == Some(ordinal) || ordinal == 0 { shard.slots.as_str() } else { "" };
            // What is being moved only its owner tells.
            let slots = if is_self { slots } else { slots.split(" [").next().unwrap_or_default() };
            format!("{id_} {address} {myself}master{failed} - 0 1700000000000 3 connected {slots}")
        }
    }
}

/// Its members, as each of them tells. Those of a shard without a primary do not answer, if it belongs to the cluster.
pub(crate) fn members(shards: &[Shard]) -> Vec<Member> {
    let pairs = || shards.iter().flat_map(|shard| [(shard, 0), (shard, 1)]);
    pairs()
        .map(|(shard, ordinal)| {
            let is_own = |other: &Shard, at| (other.number, at) == (shard.number, ordinal);
            let is_seen = |other: &Shard, at| is_own(other, at) || (shard.is_known && other.is_known);
            let lines = pairs().filter(|(other, at)| is_seen(other, *at));
            let text: Vec<String> = lines.map(|(other, at)| line(other, at, is_own(other, at))).collect();
            let answers = shard.primary.is_some() || !shard.is_known;
            let leads = shard.primary.is_none() || shard.primary == Some(ordinal);
            Member {
                name: names::shard_member(shard.number, ordinal),
                ip: ip(shard.number, ordinal),
                says: answers.then(|| {
                    if leads {
                        Says::Primary { replicas: vec![(ip(shard.number, 1 - ordinal), 0)] }
                    } else {
                        Says::Replica { in_sync: true, is_candidate: true }
                    }
                }),
                version: None,
                names: None,
                knows: answers.then(|| View::parse(&text.join("\n"), "# Keyspace\r\n")),
                accepts_next: false,
            }
        })
        .collect()
}

#[test]
fn a_line_is_read_with_all_that_redis_writes_into_it() {
    let text = "\
07c37dfeb235213a872192d90877d0cd55635b91 10.3.0.2:6379@16379,host,tls-port=0 slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 fd00::7:6379@16379 master,fail - 0 1426238316232 2 connected 5461-10922
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f :0@0 master,noaddr - 0 1426238318243 3 disconnected 10923
5dbb1ac8a49a1e2c4c0d3bb7e4a8d8f1a2b3c4d5 10.3.0.9:6379@16379 handshake - 0 0 0 connected
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 10.3.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460 [93-<-67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1]";
    let view = View::parse(text, "db0:keys=1,expires=0,avg_ttl=0\r\n");
    let is_primary = |it: &Node| it.role == Role::Primary;
    let seen: Vec<_> = view.nodes.iter().map(|it| (it.ip.as_str(), is_primary(it), it.slots)).collect();
    assert_eq!(
        seen,
        [("10.3.0.2", false, 0), ("fd00::7", true, 5462), ("", true, 1), ("10.3.0.1", true, 5461)],
        "who is only being called is not known"
    );
    let of = "e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca".to_owned();
    assert_eq!(view.nodes[0].role, Role::Replica { of, is_candidate: true });
    assert!(view.nodes[1].has_failed && !view.nodes[2].has_failed);
    assert!(view.own().unwrap().is_open);
    assert!(view.has_keys && !view.is_stranger());
}

#[test]
fn a_primary_has_slots_by_its_own_word_and_by_that_of_most() {
    let world = formed(3);
    let all = members(&world);
    assert_eq!(primary(&all, 1).unwrap().name, "redis-shard-1-0");
    assert!(is_in_sync(&all, &all[3]), "its replica");
    assert!(!is_in_sync(&all, &all[2]), "not itself");

    let own = format!("{} {}:6379@16379 myself,slave", id(1, 1), ip(1, 1));
    let leads = format!("{} 0 0 3 connected", id(1, 0));
    let knows = |flags: &str| Some(View::parse(&format!("{own}{flags} {leads}"), ""));
    let replica = |flags| Member { knows: knows(flags), ..all[3].clone() };
    assert!(is_in_sync(&all, &replica("")) && !is_in_sync(&all, &replica(",nofailover")));

    // The others agree on its replica. It has not heard of it.
    let mut moved = formed(3);
    moved[1].primary = Some(1);
    let mut cut_off = members(&moved);
    cut_off[2] = all[2].clone();
    assert_eq!(primary(&cut_off, 1).unwrap().name, "redis-shard-1-1");

    // Only one of six is heard: that is not enough to say.
    let alone: Vec<Member> = all
        .iter()
        .enumerate()
        .map(|(at, it)| if at == 2 { it.clone() } else { Member { says: None, knows: None, ..it.clone() } })
        .collect();
    assert_eq!(primary(&alone, 1), None);
}

#[test]
fn those_who_have_just_come_have_no_say() {
    let mut world = formed(3);
    world.extend(strangers(16).split_off(3));
    let all = members(&world);
    assert_eq!(primary(&all, 0).unwrap().name, "redis-shard-0-0");
    assert!(is_empty(&all[8]) && !is_empty(&all[0]) && !is_empty(&all[1]));
}

#[test]
fn what_is_to_be_done_is_said() {
    let told = |world: &[Shard], wanted, leaving: &[u8]| lacks(&members(world), wanted, leaving);
    assert_eq!(told(&formed(3), 3, &[]), None);
    assert_eq!(told(&strangers(3), 3, &[]).unwrap(), "form a cluster of 3 shards");

    let mut growing = formed(3);
    growing.extend(strangers(5).split_off(3));
    assert_eq!(told(&growing, 5, &[]).unwrap(), "give a part of the data to shard 3, 4");

    assert_eq!(told(&formed(4), 3, &[3]).unwrap(), "take the data from shard 3");

    let mut killed = formed(3);
    killed[1].slots = format!("5461-10921 [5461->-{}]", id(2, 0));
    assert_eq!(told(&killed, 3, &[]).unwrap(), "finish the move of a slot");

    let mut half_made = formed(3);
    half_made[2].slots = "10922-12000".into();
    assert_eq!(told(&half_made, 3, &[]).unwrap(), "assign slots that nobody has");
    assert!(!is_formed(&members(&half_made)) && is_formed(&members(&formed(3))));

    // A Job that was killed between two moves.
    let mut uneven = formed(3);
    uneven[1].slots = "5461-7000".into();
    uneven[2].slots = "7001-16383".into();
    assert_eq!(told(&uneven, 3, &[]).unwrap(), "spread the data evenly over the shards");

    let mut apart = formed(3);
    apart[0].slots = "0-5460 10922-16383".into();
    apart[2].is_known = false;
    assert_eq!(told(&apart, 3, &[]).unwrap(), "make the shards known to each other");
}

#[test]
fn a_shard_whose_primary_has_failed_is_not_taken_for_an_empty_one() {
    let mut world = formed(3);
    world[1].primary = None;
    let all = members(&world);
    assert_eq!(primary(&all, 1), None);
    assert!(holds(&all, 1));
    assert_eq!(
        lacks(&all, 3, &[]),
        None,
        "nothing is moved: Redis makes another the primary, or it comes back"
    );
}

#[test]
fn a_shard_is_gone_when_all_have_said_so() {
    let mut world = formed(3);
    world.extend(strangers(4).split_off(3));
    let all = members(&world);
    let is_gone = |members: &[Member], shard| is_gone(members, shard, |_| false);
    assert!(is_gone(&all, 3));
    assert!(!is_gone(&all, 2));
    assert!(!is_gone(&all, 7), "nobody was asked");

    let silent = |at: usize| {
        let mut members = all.clone();
        members[at] = Member { says: None, knows: None, ..members[at].clone() };
        members
    };
    assert!(!is_gone(&silent(7), 3), "its replica may hold something");
    assert!(!is_gone(&silent(0), 3), "another may still know it");
    let never_ran = |member: &Member| member.name == all[7].name;
    assert!(super::is_gone(&silent(7), 3, never_ran), "there is nothing that it could hold");
    assert!(!super::is_gone(&silent(6), 3, never_ran));

    let mut with_keys = all.clone();
    with_keys[6].knows.as_mut().unwrap().has_keys = true;
    assert!(!is_gone(&with_keys, 3));

    let mut still_known = formed(4);
    still_known[3].slots.clear();
    assert!(!is_gone(&members(&still_known), 3));
}

#[test]
fn members_that_were_never_heard_of_have_no_vote() {
    let mut world = formed(3);
    world.extend(strangers(8).split_off(3));
    let mut all = members(&world);
    for starting in &mut all[6..] {
        *starting = Member { says: None, knows: None, ..starting.clone() };
    }
    assert_eq!(primary(&all, 0).map(|it| it.name.as_str()), Some("redis-shard-0-0"));
    // Two shards of three are away: they may have made another the primary.
    for away in &mut all[2..6] {
        *away = Member { says: None, knows: None, ..away.clone() };
    }
    assert_eq!(primary(&all, 0), None);
}

#[test]
fn data_is_lost_only_when_all_answer_and_none_has_it_or_follows_who_had_it() {
    assert_eq!(lost_slots(&members(&formed(3))), 0);
    assert_eq!(lost_slots(&members(&strangers(3))), 0, "there never was any");
    let mut world = formed(3);
    world[1].primary = None;
    let away = members(&world);
    assert_eq!(lost_slots(&away), 0, "they may come back with it");
    let own = |at: usize, says: &str| {
        let text = format!("{at:040} {}:6379@16379 myself,{says} connected", away[at].ip);
        Member { knows: Some(View::parse(&text, "")), ..away[at].clone() }
    };
    let mut empty = away.clone();
    for at in [2, 3] {
        empty[at] = own(at, "master - 0 0 0");
    }
    assert_eq!(lost_slots(&empty), 5461);
    assert!(is_bare(&empty, 1) && !is_bare(&empty, 0));

    let mut follower = empty.clone();
    follower[3] = own(3, &format!("slave {} 0 0 3", id(1, 0)));
    assert_eq!(lost_slots(&follower), 0, "it may be made the primary");
    let mut silent = empty.clone();
    silent[0].knows = None;
    assert_eq!(lost_slots(&silent), 0, "it may have it");
    let mut later = empty;
    later[0] = members(&formed(2))[0].clone();
    assert_eq!(lost_slots(&later), 0, "one knows of other owners");
}
