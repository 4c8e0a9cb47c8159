//! Guests by link, and who is put out of a room when what let them in counts no more (VSEC-03, PRV-03).

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use mcu_api::ids::LegId;
use mcu_api::manager::{
    Invited, LegAction, Pass, Refusal, ServerMessage, Session, ToControl, Visit as Inside,
};
use mcu_api::secret::Redacted;
use serde_json::{Value, json};

use super::bench::Api;
use crate::guests::{Guest, Visit};
use crate::leaving;
use crate::store::now_ms;

const SOURCE: [u8; 4] = [192, 0, 2, 7];
const HOUR_MS: i64 = 60 * 60 * 1000;

/// Makes a room that takes links, and a link; its id and its secret.
async fn link(api: &Api, root: &str, number: &str, change: Value) -> (String, String) {
    let home = api.root(root).await;
    let room =
        json!({ "organisation": home, "number": number, "name": "会诊室", "guest_links": true });
    api.ask(root, "POST", "/rooms", room).await;
    let mut new = json!({ "expires_ms": now_ms() + HOUR_MS });
    for (key, value) in change.as_object().unwrap() {
        new[key] = value.clone();
    }
    let links = format!("/rooms/{number}/guest-links");
    let made = api.ask(root, "POST", &links, new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let path = made.body["path"].as_str().unwrap();
    let secret = path
        .strip_prefix(&format!("/room/{number}#guest="))
        .unwrap();
    assert_eq!(secret.len(), 43, "256 bits: {path}");
    (
        made.body["id"].as_str().unwrap().to_owned(),
        secret.to_owned(),
    )
}

/// What a page is told that comes by a link.
async fn comes(
    api: &Api,
    guest: &mut Guest,
    number: &str,
    secret: &str,
    resume: Option<&str>,
) -> Result<Invited, Refusal> {
    let resume = resume.map(|token| Redacted(token.to_owned()));
    let visit = Visit {
        secret,
        number,
        resume: resume.as_ref(),
        source: SOURCE.into(),
    };
    guest.look(&api.state, visit).await.map(Option::unwrap)
}

/// The controller lets it in, as the leg of this token.
async fn is_in(api: &Api, guest: &mut Guest, token: &str) {
    let joined = ServerMessage::Joined {
        leg: LegId(1),
        sdp: None,
        resume: Redacted(token.to_owned()),
    };
    guest.hear(&api.state, &joined, SOURCE.into()).await;
}

async fn uses(api: &Api, root: &str) -> i64 {
    let links = api.get(root, "/rooms/4000/guest-links").await;
    links[0]["uses"].as_i64().unwrap()
}

async fn expire(api: &Api) {
    sqlx::query("UPDATE guest_links SET expires_ms = 1")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
}

pub(crate) async fn a_link_lets_guests_into_its_room_until_it_is_used_up_runs_out_or_is_taken_back(
    api: Api,
) {
    let root = api.first().await;
    let once = json!({ "name": "张阿姨", "max_uses": 1 });
    let (id, secret) = link(&api, &root, "4000", once).await;
    link(&api, &root, "5000", json!({})).await;
    let mut guest = Guest::default();
    let let_in = comes(&api, &mut guest, "4000", &secret, None)
        .await
        .unwrap();
    let expected = Invited {
        link: id.clone(),
        name: Some(Redacted("张阿姨".into())),
        closed: None,
        returns: false,
    };
    assert_eq!(let_in, expected);
    is_in(&api, &mut guest, "first").await;
    let other = comes(&api, &mut Guest::default(), "5000", &secret, None).await;
    assert_eq!(other, Err(Refusal::LinkWrong), "of another room");
    let second = comes(&api, &mut Guest::default(), "4000", &secret, None).await;
    assert_eq!(second, Err(Refusal::LinkUsedUp));
    expire(&api).await;
    let late = comes(&api, &mut Guest::default(), "4000", &secret, None).await;
    assert_eq!(late, Err(Refusal::LinkExpired));
    // Who may have been in by it is asked for the token of that.
    let back = comes(&api, &mut Guest::default(), "4000", &secret, Some("first")).await;
    assert_eq!(back.unwrap().closed, Some(Refusal::LinkExpired));
    let path = format!("/rooms/4000/guest-links/{id}");
    let revoked = api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{revoked:?}");
    let revoked = comes(&api, &mut Guest::default(), "4000", &secret, Some("first")).await;
    assert_eq!(revoked, Err(Refusal::LinkRevoked));
    let noted = api.noted(&root, "login_failed").await;
    let reasons: Vec<&Value> = noted
        .iter()
        .map(|entry| &entry["after"]["reason"])
        .collect();
    assert_eq!(
        reasons,
        ["link_revoked", "link_expired", "link_used_up", "link_wrong"]
    );
    let visits = api.noted(&root, "view").await;
    assert!(
        visits
            .iter()
            .any(|entry| entry["after"]["guest_link"] == json!(id))
    );
    let record = api.get(&root, "/audit?limit=200").await.to_string();
    assert!(!record.contains(&secret));
}

pub(crate) async fn a_use_counts_when_somebody_is_in_and_not_who_comes_back_or_is_refused(
    api: Api,
) {
    let root = api.first().await;
    let (_, secret) = link(&api, &root, "4000", json!({ "max_uses": 2 })).await;
    let mut first = Guest::default();
    // The offer of the second join goes with the same use.
    for _ in 0..2 {
        comes(&api, &mut first, "4000", &secret, None)
            .await
            .unwrap();
    }
    assert_eq!(uses(&api, &root).await, 1);
    is_in(&api, &mut first, "first").await;
    first.leave(&api.state).await;
    assert_eq!(uses(&api, &root).await, 1);
    let mut again = Guest::default();
    let back = comes(&api, &mut again, "4000", &secret, Some("first")).await;
    assert_eq!(back.unwrap().closed, None);
    is_in(&api, &mut again, "first").await;
    assert_eq!(uses(&api, &root).await, 1);
    let mut refused = Guest::default();
    comes(&api, &mut refused, "4000", &secret, None)
        .await
        .unwrap();
    let code = Refusal::RoomFull;
    let full = ServerMessage::Refused { code };
    refused.hear(&api.state, &full, SOURCE.into()).await;
    assert_eq!(uses(&api, &root).await, 1);
    let mut gone = Guest::default();
    comes(&api, &mut gone, "4000", &secret, None).await.unwrap();
    assert_eq!(uses(&api, &root).await, 2);
    gone.leave(&api.state).await;
    assert_eq!(uses(&api, &root).await, 1);
    // Many at once: as many as it lets in, and no more.
    let visits = (0..8).map(async |_| {
        let mut guest = Guest::default();
        let is_let_in = comes(&api, &mut guest, "4000", &secret, None).await.is_ok();
        if is_let_in {
            is_in(&api, &mut guest, "another").await;
        }
        is_let_in
    });
    let let_in = futures_util::future::join_all(visits).await;
    assert_eq!(let_in.into_iter().filter(|let_in| *let_in).count(), 1);
}

pub(crate) async fn wrong_links_are_noted_and_bounded(api: Api) {
    let root = api.first().await;
    let (_, secret) = link(&api, &root, "4000", json!({})).await;
    let mut told = Vec::new();
    for n in 0..40 {
        let wrong = format!("{n}");
        let answer = comes(&api, &mut Guest::default(), "4000", &wrong, None).await;
        told.push(answer.unwrap_err());
    }
    assert_eq!(told[0], Refusal::LinkWrong);
    assert_eq!(told[39], Refusal::LinkRefused);
    let noted = api.noted(&root, "login_failed").await.len();
    assert!((30..=32).contains(&noted), "{noted}");
    // A good one lets in from there all the same.
    let good = comes(&api, &mut Guest::default(), "4000", &secret, None).await;
    assert!(good.is_ok(), "{good:?}");
}

pub(crate) async fn links_are_made_where_the_room_takes_them_and_told_once(api: Api) {
    let root = api.first().await;
    let (id, secret) = link(&api, &root, "4000", json!({})).await;
    let listed = api.get(&root, "/rooms/4000/guest-links").await;
    assert_eq!(listed[0]["id"], json!(id));
    assert!(!listed.to_string().contains(&secret));
    let year = now_ms() + 400 * 24 * HOUR_MS;
    for (wrong, code) in [
        (json!({ "expires_ms": 1 }), "expiry"),
        (json!({ "expires_ms": year }), "expiry"),
        (
            json!({ "expires_ms": now_ms() + HOUR_MS, "max_uses": 0 }),
            "uses",
        ),
    ] {
        let refused = api
            .ask(&root, "POST", "/rooms/4000/guest-links", wrong)
            .await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.body["code"], code);
    }
    link(&api, &root, "5000", json!({})).await;
    let foreign = format!("/rooms/5000/guest-links/{id}");
    let foreign = api.ask(&root, "DELETE", &foreign, Value::Null).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let stays = comes(&api, &mut Guest::default(), "4000", &secret, None).await;
    assert!(stays.is_ok(), "{stays:?}");
    let closed = json!({ "guest_links": false });
    api.ask(&root, "PATCH", "/rooms/4000", closed).await;
    let shut = comes(&api, &mut Guest::default(), "4000", &secret, None).await;
    assert_eq!(shut, Err(Refusal::LinkRevoked));
    let new = json!({ "expires_ms": now_ms() + HOUR_MS });
    let refused = api.ask(&root, "POST", "/rooms/4000/guest-links", new).await;
    assert_eq!(refused.body["code"], "no_guest_links");
}

/// VSEC-03: whoever was in by a link is let in again, also when the leg is gone, and counts once.
pub(crate) async fn a_guest_who_was_in_returns_by_a_link_that_is_used_up_and_counts_once(api: Api) {
    let root = api.first().await;
    let (id, secret) = link(&api, &root, "4000", json!({ "max_uses": 1 })).await;
    let mut first = Guest::default();
    comes(&api, &mut first, "4000", &secret, None)
        .await
        .unwrap();
    is_in(&api, &mut first, "first").await;
    first.leave(&api.state).await;
    let api = api.reopened();
    for _ in 0..2 {
        let mut again = Guest::default();
        // The page asks again with an offer.
        for _ in 0..2 {
            let back = comes(&api, &mut again, "4000", &secret, Some("first")).await;
            let back = back.unwrap();
            assert!(back.returns && back.closed.is_none(), "{back:?}");
        }
        is_in(&api, &mut again, "first").await;
        again.leave(&api.state).await;
        assert_eq!(uses(&api, &root).await, 1);
    }
    let other = comes(&api, &mut Guest::default(), "4000", &secret, Some("other")).await;
    assert_eq!(other.unwrap().closed, Some(Refusal::LinkUsedUp));
    let visits = api.noted(&root, "view").await;
    let by_it = visits
        .iter()
        .filter(|entry| entry["after"]["guest_link"] == json!(id));
    assert_eq!(by_it.count(), 3, "one for each coming: {visits:?}");
    // The token is the link's, and nothing of others.
    let (_, other) = link(&api, &root, "5000", json!({})).await;
    let other = comes(&api, &mut Guest::default(), "5000", &other, Some("first")).await;
    assert!(!other.unwrap().returns);
    expire(&api).await;
    let late = comes(&api, &mut Guest::default(), "4000", &secret, Some("first")).await;
    let late = late.unwrap();
    assert_eq!(
        (late.closed, late.returns),
        (Some(Refusal::LinkExpired), false)
    );
    let path = format!("/rooms/4000/guest-links/{id}");
    api.ask(&root, "DELETE", &path, Value::Null).await;
    let revoked = comes(&api, &mut Guest::default(), "4000", &secret, Some("first")).await;
    assert_eq!(revoked, Err(Refusal::LinkRevoked));
}

/// A server that ends while a guest is on the way in keeps no use from others.
pub(crate) async fn a_use_of_which_nothing_came_is_given_back_after_a_while(api: Api) {
    let root = api.first().await;
    let (_, secret) = link(&api, &root, "4000", json!({ "max_uses": 1 })).await;
    let mut lost = Guest::default();
    comes(&api, &mut lost, "4000", &secret, None).await.unwrap();
    let second = comes(&api, &mut Guest::default(), "4000", &secret, None).await;
    assert_eq!(second, Err(Refusal::LinkUsedUp));
    sqlx::query("UPDATE guest_uses SET taken_ms = taken_ms - 61000")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    let mut third = Guest::default();
    comes(&api, &mut third, "4000", &secret, None)
        .await
        .unwrap();
    is_in(&api, &mut third, "third").await;
    assert_eq!(uses(&api, &root).await, 1);
    // The first was slow and no more: it is in, and counts.
    is_in(&api, &mut lost, "lost").await;
    assert_eq!(uses(&api, &root).await, 2);
    lost.leave(&api.state).await;
    third.leave(&api.state).await;
    assert_eq!(uses(&api, &root).await, 2);
}

/// PRV-07: the controller may act after it was waited for.
pub(crate) async fn whoever_may_have_been_put_out_is_in_the_record(api: Api) {
    let root = api.first().await;
    link(&api, &root, "4000", json!({})).await;
    let by = Pass::Link {
        link: "none".into(),
    };
    api.visits.lock().unwrap().push(inside(1, by));
    api.ends_when_told.store(true, Ordering::Relaxed);
    leaving::compare(&api.state).await.unwrap();
    let changes = api.noted(&root, "change").await;
    let removed = changes
        .iter()
        .find(|entry| entry["after"]["removed"] == true);
    assert_eq!(removed.unwrap()["after"]["reason"], "link_revoked");
}

/// A leg in room 4000.
fn inside(leg: u64, pass: Pass) -> Inside {
    Inside {
        room: "4000".into(),
        leg: LegId(leg),
        pass,
    }
}

async fn login(api: &Api, cookie: &str) -> Pass {
    let visit = crate::entering::Visit {
        session: cookie,
        number: "4000",
        source: IpAddr::from(SOURCE),
    };
    let person = crate::entering::who(&api.state, visit, &mut HashSet::new()).await;
    let person = person.unwrap().unwrap();
    Pass::Login {
        person: person.id,
        session: person.session,
    }
}

/// Legs that are put out now, and why.
async fn put_out(api: &Api) -> Vec<(u64, Refusal)> {
    api.asked.lock().unwrap().clear();
    leaving::compare(&api.state).await.unwrap();
    let mut out = Vec::new();
    for message in api.asked.lock().unwrap().iter() {
        if let ToControl::Control { leg, action, .. } = message {
            let LegAction::Refuse { code } = action else {
                panic!("{action:?}");
            };
            out.push((leg.0, *code));
        }
    }
    let is_out = |leg: &Inside| out.iter().any(|(out, _)| *out == leg.leg.0);
    api.visits.lock().unwrap().retain(|leg| !is_out(leg));
    out
}

pub(crate) async fn who_is_in_by_what_counts_no_more_is_put_out_and_nobody_else(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let partner = api.organisation(&root, &home, "B").await;
    let (link_id, _) = link(&api, &root, "4000", json!({})).await;
    let (kept, _) = link(&api, &root, "4000", json!({})).await;
    let share = format!("/rooms/4000/shares/{partner}");
    api.ask(&root, "PUT", &share, json!({})).await;
    let mut cookies = Vec::new();
    let mut legs = vec![inside(1, login(&api, &root).await)];
    for (leg, login_name, at) in [
        (2, "ended", &home),
        (3, "disabled", &home),
        (4, "taken", &home),
        (5, "shared", &partner),
    ] {
        api.person(&root, at, login_name, "clinician").await;
        let cookie = api.log_in(login_name).await;
        cookies.push(cookie.clone());
        legs.push(inside(leg, login(&api, &cookie).await));
    }
    let of = |leg: &Inside| match &leg.pass {
        Pass::Login { person, .. } => person.clone(),
        Pass::Link { .. } => panic!("a link"),
    };
    let (disabled, taken) = (of(&legs[2]), of(&legs[3]));
    legs.push(inside(
        6,
        Pass::Link {
            link: link_id.clone(),
        },
    ));
    legs.push(inside(7, Pass::Link { link: kept }));
    api.visits.lock().unwrap().extend(legs);
    assert_eq!(put_out(&api).await, []);

    let done = api
        .ask(&cookies[0], "DELETE", "/session", Value::Null)
        .await;
    assert!(done.status.is_success(), "{done:?}");
    assert_eq!(put_out(&api).await, [(2, Refusal::SessionEnded)]);
    let path = format!("/people/{disabled}");
    api.ask(&root, "PATCH", &path, json!({ "disabled": true }))
        .await;
    assert_eq!(put_out(&api).await, [(3, Refusal::SessionEnded)]);
    let grants = format!("/people/{taken}/grants");
    let grant = api.get(&root, &grants).await[0]["id"].clone();
    let grant = format!("{grants}/{}", grant.as_str().unwrap());
    api.ask(&root, "DELETE", &grant, Value::Null).await;
    assert_eq!(put_out(&api).await, [(4, Refusal::RightTaken)]);
    api.ask(&root, "DELETE", &share, Value::Null).await;
    assert_eq!(put_out(&api).await, [(5, Refusal::RightTaken)]);
    let path = format!("/rooms/4000/guest-links/{link_id}");
    api.ask(&root, "DELETE", &path, Value::Null).await;
    assert_eq!(put_out(&api).await, [(6, Refusal::LinkRevoked)]);
    let changes = api.noted(&root, "change").await;
    let noted = changes
        .iter()
        .filter(|entry| entry["after"]["removed"] == true);
    assert_eq!(noted.count(), 5);
    assert_eq!(put_out(&api).await, []);
    assert_eq!(api.visits.lock().unwrap().len(), 2);
}

pub(crate) async fn a_session_that_ran_out_ends_no_consult(api: Api) {
    let root = api.first().await;
    link(&api, &root, "4000", json!({})).await;
    let Pass::Login { person, session } = login(&api, &root).await else {
        panic!("a login");
    };
    let id = session.unwrap().id;
    let with = |until_ms| Pass::Login {
        person: person.clone(),
        session: Some(Session {
            id: id.clone(),
            until_ms,
        }),
    };
    sqlx::query("UPDATE sessions SET seen_ms = 1")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    api.visits.lock().unwrap().push(inside(1, with(i64::MAX)));
    assert_eq!(put_out(&api).await, []);
    // Being in a room is use of the session.
    api.get(&root, "/session").await;
    sqlx::query("DELETE FROM sessions")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    *api.visits.lock().unwrap() = vec![inside(1, with(1)), inside(2, with(i64::MAX))];
    assert_eq!(put_out(&api).await, [(2, Refusal::SessionEnded)]);
}

/// Sessions end with their person; whose session ran out before is put out all the same.
pub(crate) async fn who_is_disabled_is_put_out_whatever_became_of_the_session(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    link(&api, &root, "4000", json!({})).await;
    let id = api.person(&root, &home, "disabled", "clinician").await;
    let ran_out = Session {
        id: "ran out".into(),
        until_ms: 1,
    };
    let by = Pass::Login {
        person: id.clone(),
        session: Some(ran_out),
    };
    api.visits.lock().unwrap().push(inside(1, by));
    assert_eq!(put_out(&api).await, []);
    let disabled = json!({ "disabled": true });
    api.ask(&root, "PATCH", &format!("/people/{id}"), disabled)
        .await;
    assert_eq!(put_out(&api).await, [(1, Refusal::RightTaken)]);
}
