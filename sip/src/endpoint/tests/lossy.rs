//! Whole calls over a network that loses and doubles datagrams.

use super::*;

/// A caller that resends as RFC 3261 §17.1 wants it: INVITE, ACK, re-INVITE of ours answered, BYE.
struct Caller {
    /// The request that waits for an answer, when it is sent next, and after how long again.
    pending: Option<(String, Instant, Duration)>,
    given_up: Instant,
    tag: String,
    cseq: u32,
    done: bool,
}

impl Caller {
    fn new(now: Instant) -> Self {
        let invite = request("INVITE", "3000", 1, "", "i", "", Some(OFFER));
        Self {
            pending: Some((invite, now, Duration::from_millis(500))),
            given_up: now + seconds(32),
            tag: String::new(),
            cseq: 1,
            done: false,
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.pending.as_ref().map(|(_, at, _)| *at)
    }

    fn due(&mut self, now: Instant) -> Option<String> {
        let (text, at, interval) = self.pending.as_mut()?;
        if *at > now {
            return None;
        }
        *at = now + *interval;
        *interval *= 2;
        let text = text.clone();
        if now >= self.given_up {
            self.pending = None;
        }
        Some(text)
    }

    /// What the caller says to a message of the endpoint.
    fn hear(&mut self, now: Instant, message: &str) -> Option<String> {
        if message.starts_with("SIP/2.0 1") {
            // A provisional response stops the resending (RFC 3261 §17.1.1.2).
            if let Some((_, at, _)) = self.pending.as_mut() {
                *at = self.given_up;
            }
            return None;
        }
        if message.starts_with("SIP/2.0 2") {
            return self.hear_ok(now, message);
        }
        let sdp = message.starts_with("INVITE ").then_some(OFFER);
        let wants_answer = !message.starts_with("ACK ");
        wants_answer.then(|| respond(message, "200 OK", "", sdp))
    }

    fn hear_ok(&mut self, now: Instant, message: &str) -> Option<String> {
        match header(message, "CSeq")? {
            "1 INVITE" => {
                if self.tag.is_empty() {
                    self.tag = tag_of(message);
                    self.pending = None;
                }
                Some(request("ACK", "3000", 1, &self.tag, "k", "", None))
            }
            cseq if cseq.ends_with("BYE") => {
                self.pending = None;
                self.done = now < self.given_up;
                None
            }
            _ => None,
        }
    }

    fn hang_up(&mut self, now: Instant) {
        self.cseq += 1;
        let bye = request("BYE", "3000", self.cseq, &self.tag, "bye", "", None);
        self.pending = Some((bye, now, Duration::from_millis(500)));
        self.given_up = now + seconds(32);
    }
}

/// A link with its own luck: of a hundred datagrams, `loss` are lost and ten come twice.
struct Link {
    state: u64,
    loss: u64,
}

impl Link {
    fn copies(&mut self) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        match self.state % 100 {
            luck if luck < self.loss => 0,
            luck if luck >= 90 => 2,
            _ => 1,
        }
    }
}

/// Carries messages both ways until nothing is due before `end`.
fn run(bench: &mut Bench, caller: &mut Caller, link: &mut Link, end: Instant) {
    loop {
        let mut said: Vec<String> = caller.due(bench.now).into_iter().collect();
        bench.endpoint.handle_timeout(bench.now);
        bench.drain();
        while !said.is_empty() || !bench.sent.is_empty() {
            for text in std::mem::take(&mut said) {
                (0..link.copies()).for_each(|_| bench.feed(&text));
            }
            for text in bench.take_sent() {
                let heard = (0..link.copies()).filter_map(|_| caller.hear(bench.now, &text));
                said.extend(heard);
            }
        }
        let next = [bench.endpoint.next_timeout(), caller.next_timeout()];
        match next.into_iter().flatten().min().filter(|&at| at <= end) {
            Some(at) => bench.now = bench.now.max(at),
            None => break,
        }
    }
    bench.now = end;
}

#[test]
fn calls_come_up_carry_offers_and_end_over_a_link_that_loses_a_quarter() {
    let mut whole = 0;
    for seed in 1..=100u64 {
        let mut bench = Bench::new();
        let mut link = Link {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            loss: 25,
        };
        let mut caller = Caller::new(bench.now);
        let mut end = bench.now + seconds(31);
        run(&mut bench, &mut caller, &mut link, end);
        let call = bench.incoming();
        bench.endpoint.command(
            bench.now,
            CallCommand::Accept {
                call,
                sdp: Redacted(ANSWER.to_owned()),
            },
        );
        bench.drain();
        end += seconds(31);
        run(&mut bench, &mut caller, &mut link, end);
        let established = bench.take_events() == [CallEvent::Established { call }];
        let offer = Redacted(ANSWER.to_owned());
        bench
            .endpoint
            .command(bench.now, CallCommand::Offer { call, sdp: offer });
        bench.drain();
        end += seconds(31);
        run(&mut bench, &mut caller, &mut link, end);
        let sdp = Redacted(OFFER.to_owned());
        let answered = bench.take_events() == [CallEvent::Answered { call, sdp }];
        caller.hang_up(bench.now);
        end += seconds(100);
        run(&mut bench, &mut caller, &mut link, end);
        assert_eq!(bench.endpoint.load(), crate::Load::default(), "seed {seed}");
        whole += usize::from(established && answered && caller.done);
    }
    // A round fails when all of seven to ten sendings are lost, one way or the other.
    assert!(whole >= 95, "{whole} of 100 calls went through");
}

#[test]
fn a_peer_that_vanishes_leaves_nothing_behind_at_any_moment() {
    for moment in 0..6 {
        let mut bench = Bench::new();
        let mut caller = Caller::new(bench.now);
        let mut open = Link { state: 7, loss: 0 };
        let mut dead = Link {
            state: 7,
            loss: 100,
        };
        let end = bench.now + seconds(1);
        run(&mut bench, &mut caller, &mut open, end);
        let call = bench.incoming();
        let accept = CallCommand::Accept {
            call,
            sdp: Redacted(ANSWER.to_owned()),
        };
        let offer = CallCommand::Offer {
            call,
            sdp: Redacted(ANSWER.to_owned()),
        };
        let script = [accept, offer, CallCommand::Hangup { call }];
        for (step, command) in script.into_iter().enumerate() {
            let lost = step * 2 >= moment;
            bench.endpoint.command(bench.now, command);
            bench.drain();
            let link = if lost { &mut dead } else { &mut open };
            let end = bench.now + seconds(200);
            run(&mut bench, &mut caller, link, end);
        }
        let ends = bench.take_events();
        let ended = ends.iter().filter(|e| matches!(e, CallEvent::Ended { .. }));
        assert_eq!(ended.count(), 1, "moment {moment}: {ends:?}");
        assert_eq!(
            bench.endpoint.load(),
            crate::Load::default(),
            "moment {moment}"
        );
        assert_eq!(bench.endpoint.next_timeout(), None);
    }
}
