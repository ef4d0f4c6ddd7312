//! JSON Merge Patch (RFC 7396) on the text itself: what a patch does not name stays byte for byte, so that large numbers
//! and the order of members survive.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Deepest nesting of objects in a patch: at each level what is left of the target is read once more.
const MAX_DEPTH: usize = 32;

/// Why a patch is refused; the target stays as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unpatchable {
    #[error("the patch nests objects deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Such as half of a surrogate pair, which is JSON by its grammar and no text.
    #[error("a member has a name that is no text: {0}")]
    Name(#[from] serde_json::Error),
}

/// The target after the patch.
pub(crate) fn merge(target: Option<&RawValue>, patch: &RawValue) -> Result<String, Unpatchable> {
    merge_at(target, patch, 0).map(Cow::into_owned)
}

/// What stays is borrowed from the target: copied at each level, it would take its memory as often as the patch is deep.
fn merge_at<'a>(
    target: Option<&'a RawValue>,
    patch: &'a RawValue,
    depth: usize,
) -> Result<Cow<'a, str>, Unpatchable> {
    if depth > MAX_DEPTH {
        return Err(Unpatchable::TooDeep);
    }
    let Some(changes) = members(patch)? else { return Ok(Cow::Borrowed(patch.get())) };
    let old = target.map(members).transpose()?.flatten().unwrap_or_default();
    // Each member's text; none where it is taken out. A name that stands twice counts as its last.
    let mut merged: Vec<(String, Option<Cow<'a, str>>)> = Vec::with_capacity(old.len() + changes.len());
    let mut places: HashMap<String, (usize, Option<&'a RawValue>)> = HashMap::new();
    for (name, value) in old {
        if let Some((place, known)) = places.get_mut(&name) {
            merged[*place].1 = Some(Cow::Borrowed(value.get()));
            *known = Some(value);
        } else {
            places.insert(name.clone(), (merged.len(), Some(value)));
            merged.push((name, Some(Cow::Borrowed(value.get()))));
        }
    }
    for (name, change) in changes {
        let known = places.get(&name).copied();
        let value = if change.get() == "null" {
            None
        } else {
            Some(merge_at(known.and_then(|(_, value)| value), change, depth + 1)?)
        };
        if let Some((place, _)) = known {
            merged[place].1 = value;
        } else if value.is_some() {
            places.insert(name.clone(), (merged.len(), None));
            merged.push((name, value));
        }
    }
    let mut text = String::from("{");
    for (name, value) in merged.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(&name).unwrap_or_default());
        text.push(':');
        text.push_str(&value);
    }
    text.push('}');
    Ok(Cow::Owned(text))
}

/// The members of an object, as they stand; none where it is no object.
fn members(value: &RawValue) -> Result<Option<Vec<(String, &RawValue)>>, serde_json::Error> {
    let text = value.get();
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str::<Members<'_>>(text).map(|members| Some(members.0))
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(target: &str, patch: &str) -> Result<String, Unpatchable> {
        let target: &RawValue = serde_json::from_str(target).unwrap();
        merge(Some(target), serde_json::from_str(patch).unwrap())
    }

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn it_does_what_the_rfc_says() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(patched(target, patch).unwrap(), expected, "{target} + {patch}");
        }
    }

    #[test]
    fn what_is_not_named_stays_as_it_was_written() {
        let target = r#"{"z":123456789012345678901234567890,"a": [1.10, 2e5],"q\u0022":"ü"}"#;
        assert_eq!(
            patched(target, r#"{"new":{"x":null,"y":1}}"#).unwrap(),
            r#"{"z":123456789012345678901234567890,"a":[1.10, 2e5],"q\"":"ü","new":{"y":1}}"#
        );
    }

    #[test]
    fn a_name_that_stands_twice_counts_as_its_last() {
        assert_eq!(patched(r#"{"a":1,"a":{"b":2}}"#, r#"{"a":{"c":3}}"#).unwrap(), r#"{"a":{"b":2,"c":3}}"#);
        assert_eq!(patched("{}", r#"{"a":1,"a":null,"a":2}"#).unwrap(), r#"{"a":2}"#);
    }

    #[test]
    fn a_patch_that_nests_too_deeply_is_refused() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(patched("{}", &deep(30)).is_ok());
        assert!(matches!(patched("{}", &deep(100_000)), Err(Unpatchable::TooDeep)));
    }

    /// Were it taken for no object, the patch would replace it and all its members would be lost.
    #[test]
    fn an_object_that_cannot_be_read_is_left_alone() {
        let odd = r#"{"\ud800":1,"kept":2}"#;
        assert!(matches!(patched(odd, r#"{"a":1}"#), Err(Unpatchable::Name(_))));
        assert!(matches!(patched(r#"{"kept":2}"#, odd), Err(Unpatchable::Name(_))));
        assert!(patched(r#"{"a":"\ud800"}"#, r#"{"b":1}"#).is_ok(), "a value is not looked into");
    }
}
