//! Counts of what a start page shows.

use super::bench::Api;

pub(crate) async fn counts_are_of_what_one_may_see_and_looking_leaves_no_trace(api: Api) {
    let root = api.first().await;
    let home = api.root(&root).await;
    let a = api.organisation(&root, &home, "A").await;
    let b = api.organisation(&root, &home, "B").await;
    for (login, at) in [("chun", &a), ("xia", &b)] {
        api.nobody(&root, at, login).await;
        for _ in 0..5 {
            api.try_log_in(login, "wrong wrong wrong").await;
        }
    }
    // Nobody's name: it belongs to no organisation, and so to the root.
    api.try_log_in("nobody", "wrong wrong wrong").await;
    api.person(&root, &a, "boss", "organisation_administrator")
        .await;
    api.person(&root, &a, "qiu", "auditor").await;
    let (boss, auditor) = (api.log_in("boss").await, api.log_in("qiu").await);

    let before = api.noted(&root, "view").await.len();
    assert_eq!(api.get(&root, "/people/counts").await["locked"], 2);
    assert_eq!(api.get(&boss, "/people/counts").await["locked"], 1);
    let all = api.get(&root, "/audit/counts").await;
    assert_eq!(all["failed_logins"], 11);
    assert_eq!(api.get(&auditor, "/audit/counts").await["failed_logins"], 5);
    // That the record was looked at above is in it.
    assert_eq!(api.noted(&root, "view").await.len(), before + 1);

    sqlx::query("UPDATE people SET locked_until_ms = 1 WHERE login = 'chun'")
        .execute(api.store.pool().unwrap())
        .await
        .unwrap();
    assert_eq!(api.get(&root, "/people/counts").await["locked"], 1);
}
