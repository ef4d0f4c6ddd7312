//! The HTTP gateway: authenticate, route, limit, one Redis round trip, answer.

fn main() {}
