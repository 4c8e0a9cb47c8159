//! Pictures of meetings (WS/T 545: MGT-01, MGT-05, PRV-07).

use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::bench::Api;
use crate::sessions::COOKIE;

fn picture_of(number: &str) -> String {
    format!("/meetings/{number}/picture")
}

/// What the record has of looks, newest first: who, the room's number, and whose it is.
async fn looks(api: &Api, root: &str) -> Vec<(String, String, String)> {
    let noted = api.noted(root, "view").await;
    let looks = noted
        .iter()
        .filter(|entry| entry["object_kind"] == "meeting");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    looks
        .map(|entry| {
            assert_eq!(entry["after"]["picture"], json!(true));
            let (number, home) = (&entry["after"]["number"], &entry["organisation"]);
            (text(&entry["actor_name"]), text(number), text(home))
        })
        .collect()
}

pub(crate) async fn a_meeting_is_looked_at_with_the_right_at_its_home_and_each_look_is_noted(
    api: Api,
) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    for (at, number) in [(&a, "4000"), (&a, "empty-1"), (&b, "5000")] {
        let room = json!({ "organisation": at, "number": number, "name": "x" });
        api.make(&root, "/rooms", room).await;
    }
    for (login, role) in [
        ("boss", "organisation_administrator"),
        ("doctor", "clinician"),
    ] {
        api.person(&root, &a, login, role).await;
    }
    let (boss, doctor) = (api.log_in("boss").await, api.log_in("doctor").await);
    api.until_figures_are_told().await;
    let status = async |cookie: &str, number: &str| {
        let path = picture_of(number);
        api.ask(cookie, "GET", &path, Value::Null).await.status
    };
    let no = (StatusCode::NOT_FOUND, StatusCode::FORBIDDEN);
    assert_eq!(status(&boss, "empty-1").await, no.0, "no picture yet");
    assert_eq!(status(&boss, "5000").await, no.0, "another hospital's");
    assert_eq!(status(&boss, "100").await, no.0, "of the file, at the root");
    assert_eq!(status(&doctor, "4000").await, no.1, "sees the room alone");
    // A share to see and to control it is none to look.
    let share = json!({ "may_view": true, "may_join": true, "may_control": true });
    let path = format!("/rooms/5000/shares/{a}");
    api.ask(&root, "PUT", &path, share).await;
    assert_eq!(status(&boss, "5000").await, no.0);
    assert!(looks(&api, &root).await.is_empty(), "they saw nothing");

    let path = format!("/api/v1{}", picture_of("4000"));
    let answer = api.visit(&path, &format!("{COOKIE}={boss}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "image/jpeg");
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let file = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&file[..], b"4000", "the file as the controller has it");
    for _ in 0..3 {
        assert_eq!(status(&boss, "4000").await, StatusCode::OK);
        assert_eq!(status(&root, "100").await, StatusCode::OK);
    }
    let look =
        |who: &str, number: &str, home: &str| (who.to_owned(), number.to_owned(), home.to_owned());
    let once = [look("root", "100", &home), look("boss", "4000", &a)];
    assert_eq!(looks(&api, &root).await, once);
    api.state.looks.age().await;
    assert_eq!(status(&boss, "4000").await, StatusCode::OK);
    assert_eq!(status(&boss, "4000").await, StatusCode::OK);
    assert_eq!(looks(&api, &root).await[0], look("boss", "4000", &a));
    assert_eq!(looks(&api, &root).await.len(), 3, "they begin to look anew");
    // Defect that this guards against: the next patient in the same room was in no record of who looked.
    api.legs.lock().unwrap().push(super::meetings::leg());
    assert_eq!(status(&boss, "4000").await, StatusCode::OK);
    assert_eq!(status(&boss, "4000").await, StatusCode::OK);
    assert_eq!(looks(&api, &root).await.len(), 4, "another meeting");
}

pub(crate) async fn a_page_knows_which_pictures_it_may_ask_for(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let room = json!({ "organisation": a, "number": "4000", "name": "x" });
    api.make(&root, "/rooms", room).await;
    for (login, role) in [
        ("watch", "organisation_administrator"),
        ("operator", "network_operator"),
    ] {
        api.person(&root, &a, login, role).await;
    }
    sqlx::query("INSERT INTO told (what, state_json, since_ms) VALUES ('4000', '[]', 1)")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    api.legs.lock().unwrap().push(super::meetings::leg());
    for (login, may) in [("watch", true), ("operator", false)] {
        let cookie = api.log_in(login).await;
        let meetings = api.get(&cookie, "/meetings").await;
        assert_eq!(meetings["items"][0]["may_watch"], json!(may), "{login}");
    }
}
