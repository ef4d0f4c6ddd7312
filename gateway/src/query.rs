//! What the query of a request may hold: each route's own parameters, once each; anything else is refused, so that nobody takes
//! for done what was not read.

use std::borrow::Cow;

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};

use crate::problem::{Code, Problem};

/// Of a request that takes no parameters.
pub(crate) struct NoQuery;

impl NoQuery {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        // Nearly every request ends here.
        let Some(query) = uri.query() else { return Ok(Self) };
        let Some((name, _)) = form_urlencoded::parse(query.as_bytes()).next() else { return Ok(Self) };
        let detail = format!("the query has no parameter {name:?}: this request takes none, leave it out");
        Err(Problem::new(Code::Invalid, detail))
    }
}

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

/// A parameter and its value, decoded.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters in their order; an error in place of one that comes again, except that which `may_repeat`. Who reads them ends
/// at the first that it does not know.
pub(crate) fn parameters<'a>(
    query: &'a str,
    may_repeat: &'a str,
) -> impl Iterator<Item = Result<Parameter<'a>, Problem>> {
    let mut seen = Vec::new();
    form_urlencoded::parse(query.as_bytes()).map(move |(name, value)| {
        if seen.contains(&name) {
            let detail = format!("the query has the parameter {name:?} twice: send it once");
            return Err(Problem::new(Code::Invalid, detail));
        }
        if name != may_repeat {
            seen.push(name.clone());
        }
        Ok((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_parameters_has_none() {
        let refused = |uri: &'static str| NoQuery::of(&Uri::from_static(uri)).is_err();
        assert_eq!(
            ["/kv/k", "/kv/k?", "/kv/k?&", "/kv/k?ttl", "/kv/k?ttl=0", "/kv/k?=1"].map(refused),
            [false, false, false, true, true, true]
        );
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let count = |query: &str| parameters(query, "tag").flatten().count();
        assert_eq!(
            [count("tag=a&tag=b&page=1"), count("page=1&tag=a&page=1"), count("p=1&%70=2")],
            [3, 2, 1]
        );
    }
}
