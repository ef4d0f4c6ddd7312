//! Ends of attempts, told to the queue together: while one call is under way, what ends meanwhile waits for the next.
//! Under load a call tells many, otherwise each is told at once.

use std::sync::Arc;

use keystead_kv::{
    Error,
    queue::{Claim, Claims, ENDS, Ending},
};
use tokio::sync::{mpsc, oneshot};

/// Of results and errors that one call tells; one attempt alone may have more.
const BYTES: usize = 256 * 1024;

/// What one end came to: false where somebody else has the job.
type Told = Result<bool, Arc<Error>>;

#[derive(Clone, Debug)]
pub(crate) struct Ends(mpsc::Sender<End>);

#[derive(Debug)]
struct End {
    claim: Claim,
    ending: Ending,
    told: oneshot::Sender<Told>,
}

impl Ends {
    /// Tells them for as long as somebody may have one to tell.
    pub(crate) fn new(claims: Claims) -> Self {
        let (sender, receiver) = mpsc::channel(ENDS);
        tokio::spawn(tell(claims, receiver));
        Self(sender)
    }

    /// Ends an attempt.
    pub(crate) async fn end(&self, claim: &Claim, ending: &Ending) -> Told {
        let (told, answer) = oneshot::channel();
        let end = End { claim: claim.clone(), ending: ending.clone(), told };
        self.0.send(end).await.unwrap_or_else(|_| unreachable!("it is told as long as there is a sender"));
        answer.await.unwrap_or_else(|_| unreachable!("each that was sent is answered"))
    }
}

async fn tell(claims: Claims, mut receiver: mpsc::Receiver<End>) {
    let mut ends = Vec::with_capacity(ENDS);
    while receiver.recv_many(&mut ends, ENDS).await > 0 {
        while !ends.is_empty() {
            let some: Vec<End> = ends.drain(..together(ends.iter().map(|end| end.ending.bytes()))).collect();
            let pairs: Vec<_> = some.iter().map(|end| (&end.claim, &end.ending)).collect();
            let answers = claims.end_all(&pairs).await.map_err(Arc::new);
            for (index, end) in some.into_iter().enumerate() {
                let told = answers.as_ref().map(|told| told.get(index) == Some(&true)).map_err(Arc::clone);
                // Who waited for it may be gone.
                let _ = end.told.send(told);
            }
        }
    }
}

/// How many of them, from the first, one call tells.
fn together(bytes: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let fits = bytes.take_while(|bytes| {
        sum += bytes;
        sum <= BYTES
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_tells_what_fits_and_at_least_one() {
        for (bytes, expected) in
            [(&[10, 20, 30][..], 3), (&[BYTES, 1], 1), (&[BYTES - 1, 1, 1], 2), (&[BYTES + 1, 1], 1)]
        {
            assert_eq!(together(bytes.iter().copied()), expected, "{bytes:?}");
        }
    }
}
