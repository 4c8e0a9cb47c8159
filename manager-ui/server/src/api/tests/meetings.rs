//! Meetings that are running (WS/T 545: MGT-01, MGT-05).

use mcu_api::ids::LegId;
use mcu_api::inventory::{FlowStats, LegState};
use mcu_api::manager::{LegView, Showing, Site, SiteKind};
use mcu_api::secret::Redacted;
use serde_json::{Value, json};

use super::bench::Api;
use crate::store::now_ms;

/// A terminal whose sound and pictures arrive well, and that loses much of what it is sent.
pub(super) fn leg() -> LegView {
    let site = Site {
        leg: LegId(7),
        name: Redacted("手术室".into()),
        kind: SiteKind::Sip,
        audio_muted: true,
        video_muted: false,
        audio_silenced: true,
        video_silenced: false,
        original_sound: false,
        sound_lag_ms: None,
    };
    let flow = |loss_percent| FlowStats {
        loss_percent,
        ..FlowStats::default()
    };
    LegView {
        site,
        waiting: false,
        showing: Showing::default(),
        state: LegState::Connected,
        joined_s: 60,
        audio_codec: "Opus".into(),
        audio_level_dbov: -40,
        received: flow(0.5),
        sent: flow(7.0),
        video_received: Default::default(),
        video_sent: Default::default(),
        round_trip_ms: Some(20),
    }
}

pub(crate) async fn running_meetings_are_shown_with_their_sites_to_who_sees_the_room(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    for (at, number, name) in [(&a, "4000", "肿瘤"), (&a, "4001", "x"), (&b, "5000", "y")] {
        let room = json!({ "organisation": at, "number": number, "name": name });
        api.make(&root, "/rooms", room).await;
    }
    api.person(&root, &a, "boss_a", "organisation_administrator")
        .await;
    let boss_a = api.log_in("boss_a").await;
    // Room 100 is one of the configuration file; 4001 is empty.
    for (number, since_ms) in [("4000", 1000), ("5000", 2000), ("100", 0)] {
        sqlx::query("INSERT INTO told (what, state_json, since_ms) VALUES ($1, '[]', $2)")
            .bind(number)
            .bind(since_ms)
            .execute(api.store.pool().unwrap())
            .await
            .unwrap();
    }
    let empty = api.get(&root, "/meetings").await;
    assert_eq!(empty["items"], json!([]), "they have just ended");
    api.legs.lock().unwrap().push(leg());
    let numbers = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        let number = |item: &Value| item["number"].as_str().unwrap().to_owned();
        items.iter().map(number).collect()
    };
    let all = api.get(&root, "/meetings").await;
    assert_eq!(numbers(&all), ["100", "4000", "5000"]);
    let (file, made) = (&all["items"][0], &all["items"][1]);
    assert_eq!((&file["room"], &file["name"]), (&Value::Null, &Value::Null));
    assert_eq!(file["organisation"], json!(home));
    let since_s = (now_ms() - file["since_ms"].as_i64().unwrap()) / 1000;
    assert!((60..120).contains(&since_s), "{file}");
    assert_eq!(
        (&made["name"], &made["since_ms"]),
        (&json!("肿瘤"), &json!(1000))
    );
    let site = &made["sites"][0];
    assert_eq!(
        (&site["name"], &site["kind"], &site["audio_muted"]),
        (&json!("手术室"), &json!("sip"), &json!(true))
    );
    let quality = |way: &str| site[way]["quality"].as_str().unwrap();
    assert_eq!((quality("received"), quality("sent")), ("good", "poor"));

    assert_eq!(numbers(&api.get(&boss_a, "/meetings").await), ["4000"]);
    let share = format!("/rooms/5000/shares/{a}");
    let view = json!({ "may_view": true, "may_join": false, "may_control": false });
    api.ask(&root, "PUT", &share, view).await;
    let first = api.get(&boss_a, "/meetings?limit=1").await;
    assert_eq!(
        (numbers(&first), &first["next"]),
        (vec!["4000".into()], &json!("4000"))
    );
    let second = api.get(&boss_a, "/meetings?limit=1&after=4000").await;
    assert_eq!(
        (numbers(&second), &second["next"]),
        (vec!["5000".into()], &Value::Null)
    );
    let query = "/meetings?q=%E8%82%BF";
    assert_eq!(numbers(&api.get(&root, query).await), ["4000"]);
    assert_eq!(numbers(&api.get(&root, "/meetings?q=10").await), ["100"]);
    let hidden = json!({ "may_view": false, "may_join": true, "may_control": false });
    api.ask(&root, "PUT", &share, hidden).await;
    assert_eq!(numbers(&api.get(&boss_a, "/meetings").await), ["4000"]);
}
