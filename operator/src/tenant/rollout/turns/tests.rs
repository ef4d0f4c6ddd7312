//! Who may be restarted, and who waits for that.

use super::*;

#[test]
fn as_many_as_there_may_be_have_their_turn_and_the_next_comes_when_one_ends() {
    let (mut turns, now) = (Turns::new(2), Instant::now());
    assert_eq!(turns.ask("a", "1", now), Ok(()));
    assert_eq!(turns.ask("b", "1", now), Ok(()));
    assert_eq!(turns.ask("c", "1", now), Err(2));
    assert_eq!(turns.ask("a", "1", now), Ok(()), "it has its turn");
    turns.end("a");
    assert_eq!(turns.ask("c", "1", now), Ok(()));
    assert_eq!(turns.ask("a", "1", now), Err(2));
    assert_eq!(waits(2), "2 other tenants are being changed: this one waits for its turn");
    assert_eq!(waits(1), "another tenant is being changed: this one waits for its turn");
}

#[test]
fn one_that_takes_long_or_has_stopped_holds_nobody_up() {
    let (mut turns, now) = (Turns::new(1), Instant::now());
    assert_eq!(turns.ask("slow", "1", now), Ok(()));
    assert_eq!(turns.ask("next", "1", now + LONGEST.saturating_sub(Duration::from_secs(1))), Err(1));
    // A pass over the slow one does not make its turn longer.
    turns.take("slow", "1", now + LONGEST);
    assert_eq!(turns.ask("next", "1", now + LONGEST), Ok(()));
    turns.pass("next");
    turns.take("next", "1", now + LONGEST);
    assert_eq!(turns.ask("third", "1", now + LONGEST), Ok(()));
    assert_eq!(turns.ask("slow", "1", now + LONGEST), Err(1), "another change of it is another turn");
}

#[test]
fn who_is_being_restarted_when_the_operator_starts_is_counted() {
    let (mut turns, now) = (Turns::new(1), Instant::now());
    turns.take("a", "1", now);
    turns.take("b", "1", now);
    assert_eq!(turns.ask("c", "1", now), Err(2));
    turns.end("a");
    assert_eq!(turns.ask("c", "1", now), Err(1));
    turns.end("b");
    assert_eq!(turns.ask("c", "1", now), Ok(()));
}

#[test]
fn the_turn_of_a_tenant_is_not_that_of_the_next_one_of_its_name() {
    let (mut turns, now) = (Turns::new(1), Instant::now());
    assert_eq!(turns.ask("a", "1", now), Ok(()));
    turns.pass("a");
    turns.take("a", "2", now);
    assert_eq!(turns.ask("b", "1", now), Err(1));
}
