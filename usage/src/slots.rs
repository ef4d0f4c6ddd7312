//! Slots of keys in a cluster of Redis: its cluster specification.

/// Slots of every cluster.
pub const SLOTS: u16 = 16384;

/// The slot of a key: of what is within its first braces, or of all of it.
pub fn slot(key: &[u8]) -> u16 {
    hash(tag(key).unwrap_or(key)) % SLOTS
}

/// The hash of Redis' slots.
pub fn hash(bytes: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(bytes)
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let rest = key.get(key.iter().position(|byte| *byte == b'{')? + 1..)?;
    rest.get(..rest.iter().position(|byte| *byte == b'}')?).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_redis_has_it() {
        // As CLUSTER KEYSLOT answers.
        assert_eq!(
            [slot(b"123456789"), slot(b"foo{bar}"), slot(b"bar"), slot(b"{}x")],
            [12739, 5061, 5061, 10595]
        );
    }
}
