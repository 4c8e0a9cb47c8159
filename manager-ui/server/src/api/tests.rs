//! The API as a program sees it, on both databases.

mod bench;
mod counts;
mod description;
mod directory;
mod document;
mod events;
mod guests;
mod logins;
mod matrix;
mod meetings;
mod oidc;
mod once;
mod people;
mod pictures;
// The server that end-to-end tests start, too.
#[path = "../../../../tests/src/postgres.rs"]
mod postgres;
// So are peers that are Python.
#[path = "../../../../tests/src/python.rs"]
mod python;
mod rates;
mod record;
mod rooms;
mod saml;
mod second_factor;
mod shares;
mod slapd;
mod system;
mod tokens;
mod trunks;
mod visits;
mod webhooks;
mod webhooks_kept;

use bench::Api;
use postgres::Postgres;

/// Tests that run on SQLite each by itself, and on one PostgreSQL server one after the other.
macro_rules! on_both {
    ($group:ident: $($module:ident::$test:ident,)*) => {
        mod $group {
            use super::*;

            mod on_sqlite {
                use super::*;
                $(
                    #[tokio::test]
                    async fn $test() {
                        $module::$test(Api::sqlite().await).await;
                    }
                )*
            }

            #[tokio::test]
            async fn the_same_on_postgresql() {
                let postgres = Postgres::start();
                $(
                    println!(stringify!($test));
                    $module::$test(Api::postgres(&postgres, stringify!($test)).await).await;
                )*
            }
        }
    };
}

on_both! { people_and_rights:
    description::operations_have_names_of_their_own_and_refusals_their_media_type,
    description::each_operation_is_described_with_what_proves_who_asks,
    description::what_is_out_of_its_range_is_refused,
    description::a_refused_field_is_named_and_what_it_holds_is_not,
    logins::the_first_link_makes_an_administrator_once,
    logins::a_wrong_password_is_refused_and_five_close_the_login,
    logins::a_session_ends_when_it_is_ended_and_with_its_person,
    logins::a_page_that_nobody_is_at_keeps_no_session_alive,
    logins::a_page_of_another_site_changes_nothing,
    logins::a_new_password_ends_all_other_sessions,
    people::nobody_hands_on_more_than_they_hold,
    people::a_denial_holds_before_any_allowance,
    people::a_subtree_moves_with_its_people_and_rights,
    people::who_is_denied_something_below_hands_it_on_nowhere_above,
    people::a_move_gives_no_rights_that_the_mover_does_not_hold,
    people::moves_and_new_organisations_at_once_leave_a_tree,
    people::nobody_moves_himself,
    people::long_lists_come_in_pages_and_are_searched,
    matrix::each_role_may_do_what_it_allows_where_it_is_held,
    matrix::a_token_does_what_its_scope_names_where_its_person_may,
    matrix::probes_between_two_hospitals_show_nothing,
}

on_both! { rooms_and_guests:
    events::a_change_is_heard_at_once_and_by_who_comes_back_once,
    events::each_role_hears_what_it_may_see_where_it_is_held,
    events::who_may_listen_no_more_hears_nothing_more,
    events::a_session_that_runs_out_hears_nothing_more_however_much_there_is,
    events::who_missed_what_is_not_kept_is_told_so,
    events::streams_are_bounded,
    events::a_shared_room_is_heard_of_as_long_as_it_is_shared,
    events::what_moves_away_is_told_as_gone_to_those_whom_it_left,
    events::a_listener_chooses_by_type_organisation_and_room,
    meetings::running_meetings_are_shown_with_their_sites_to_who_sees_the_room,
    pictures::a_meeting_is_looked_at_with_the_right_at_its_home_and_each_look_is_noted,
    pictures::a_page_knows_which_pictures_it_may_ask_for,
    rooms::a_room_is_made_changed_shown_and_removed_and_its_pins_are_told_to_nobody,
    rooms::a_room_has_pictures_and_places_of_its_own,
    rooms::a_number_is_taken_once_and_never_from_the_configuration_file,
    rooms::what_the_configuration_file_has_is_shown_where_it_is_and_changed_there_alone,
    rooms::what_the_configuration_file_got_later_is_in_force,
    rooms::a_room_is_shared_to_see_enter_and_control,
    rooms::an_accounts_password_is_told_once_and_kept_as_hashes_of_its_realm,
    rooms::an_operator_mutes_removes_and_calls_and_the_record_says_so,
    rooms::a_terminal_is_sent_where_the_operator_may_lead_it,
    rooms::each_change_reaches_the_controller_whole,
    rooms::the_controller_knows_which_accounts_belong_to_a_room_after_each_change,
    rooms::the_controller_knows_whose_terminals_an_operator_may_have_ring,
    rooms::a_change_that_nobody_told_reaches_the_controller,
    rooms::an_account_is_shared_to_be_seen_and_to_be_called,
    shares::what_is_shared_is_ended_by_whom_it_is_shared_with,
    rooms::who_is_logged_in_enters_where_the_right_is_held,
    trunks::a_trunk_is_made_changed_shown_and_removed_and_its_password_is_told_to_nobody,
    trunks::a_trunk_is_changed_whose_room_went_elsewhere,
    trunks::what_contradicts_itself_or_another_trunk_is_refused,
    guests::a_link_lets_guests_into_its_room_until_it_is_used_up_runs_out_or_is_taken_back,
    guests::a_use_counts_when_somebody_is_in_and_not_who_comes_back_or_is_refused,
    guests::a_guest_who_was_in_returns_by_a_link_that_is_used_up_and_counts_once,
    guests::a_use_of_which_nothing_came_is_given_back_after_a_while,
    guests::whoever_may_have_been_put_out_is_in_the_record,
    guests::wrong_links_are_noted_and_bounded,
    guests::links_are_made_where_the_room_takes_them_and_told_once,
    guests::who_is_in_by_what_counts_no_more_is_put_out_and_nobody_else,
    visits::a_page_that_asks_again_is_noted_once_for_each_room,
    visits::what_the_controller_does_not_answer_is_in_the_record,
    guests::who_is_disabled_is_put_out_whatever_became_of_the_session,
    guests::a_session_that_ran_out_ends_no_consult,
}

on_both! { programs_and_record:
    rates::a_session_is_counted_by_itself_and_who_proves_nothing_by_the_source,
    once::whatever_is_made_is_made_once_and_its_answer_told_again,
    once::every_operation_that_makes_something_takes_a_key_and_no_other,
    once::an_answer_is_told_to_who_asked_while_they_may_still_do_it,
    once::an_answer_about_a_room_is_told_where_the_room_is_now,
    once::a_refusal_is_not_kept_and_what_is_unknown_is_not_done_twice,
    once::a_call_that_nobody_began_may_be_tried_again_and_one_that_may_ring_not,
    once::a_call_goes_on_when_its_client_hangs_up_and_is_told_to_who_comes_back,
    once::the_hash_of_a_request_is_sealed,
    once::two_at_the_same_time_make_one,
    once::answers_are_bounded_and_forgotten_after_a_day,
    webhooks::what_happens_is_told_signed_in_order_and_without_names,
    webhooks::what_is_refused_is_tried_again_until_it_is_dead_and_then_by_hand,
    webhooks::a_receiver_that_does_not_answer_delays_no_other,
    webhooks::a_hook_tells_what_its_maker_may_see_when_it_is_sent,
    webhooks::a_hook_that_a_token_made_goes_with_the_token,
    webhooks::an_address_that_is_not_of_the_internet_is_refused,
    webhooks::what_was_missed_is_told_and_a_gap_where_it_is_not_kept,
    webhooks::a_hook_is_switched_off_after_days_in_vain_and_there_are_so_many,
    webhooks_kept::what_is_forgotten_while_it_waits_is_told_as_a_gap,
    webhooks_kept::what_is_forgotten_before_it_waits_is_told_as_a_gap,
    webhooks_kept::an_address_is_sealed_and_one_of_an_earlier_version_as_well,
    webhooks_kept::a_delivery_ends_the_failing_and_a_test_does_not,
    counts::counts_are_of_what_one_may_see_and_looking_leaves_no_trace,
    record::each_change_is_in_the_record_with_before_and_after,
    record::what_moves_away_is_in_the_record_of_both_places,
    system::the_system_is_shown_to_who_may_see_it_at_the_root,
    system::ports_are_shared_out_by_who_manages_the_server,
    system::health_tells_each_part_and_nothing_else,
    system::what_is_counted_has_labels_of_the_programs_own,
    record::the_record_is_taken_away_as_a_file_with_the_same_rights_and_filters_and_that_is_in_it,
    record::a_changed_a_removed_and_a_cut_record_are_found,
    record::a_record_that_was_rewritten_does_not_fit_its_checkpoints,
}

on_both! { ways_to_log_in:
    second_factor::an_authenticator_is_asked_for_once_it_is_confirmed_and_each_code_counts_once,
    second_factor::wrong_codes_close_the_login_as_wrong_passwords_do,
    second_factor::a_recovery_code_is_good_once,
    second_factor::an_administrator_removes_a_lost_authenticator,
    second_factor::an_authenticator_is_sealed_and_needs_the_key_of_the_data_folder,
    second_factor::an_authenticator_is_begun_and_removed_by_its_person_alone,
    tokens::a_token_is_told_once_listed_and_revoked,
    tokens::tokens_that_are_good_no_more_are_refused_and_noted,
    tokens::a_token_hands_on_no_more_than_its_scope,
    tokens::a_new_password_by_an_administrator_ends_tokens,
    tokens::what_no_token_may_be_is_refused,
    tokens::a_token_asks_for_the_password,
    tokens::a_token_of_somebody_from_elsewhere_wants_a_login_now_and_then,
    second_factor::a_token_wants_a_code_as_a_login_does,
    directory::people_of_the_directory_log_in_by_both_ways_of_tls,
    directory::who_proves_nothing_to_the_directory_is_refused_and_noted,
    directory::guesses_at_the_same_time_are_all_counted,
    directory::an_entry_with_several_logins_is_nobody,
    directory::roles_of_groups_stay_where_the_configuration_gives_them,
    directory::what_is_typed_is_no_filter,
    directory::a_directory_that_is_away_shuts_out_its_own_people_alone,
    directory::a_directory_without_a_trusted_certificate_hears_no_password,
    directory::the_directory_takes_no_local_persons_place,
    directory::roles_follow_the_groups_of_the_directory,
    directory::somebody_is_the_entry_and_not_the_login,
    directory::who_has_no_subject_yet_is_given_one,
    oidc::a_provider_proves_who_somebody_is,
    oidc::a_token_wants_a_proof_to_the_provider_that_is_just_now,
    oidc::what_was_used_or_is_of_another_browser_is_refused,
    oidc::a_picture_elsewhere_begins_no_login_and_shuts_out_nobody,
    oidc::a_token_with_another_nonce_or_that_ran_out_is_refused,
    oidc::a_provider_takes_nobodys_place_and_may_be_away,
    saml::an_identity_provider_proves_who_somebody_is,
    saml::a_token_wants_a_proof_to_the_identity_provider_that_is_just_now,
    saml::what_proves_nothing_is_refused,
    saml::what_a_signature_refers_to_elsewhere_is_not_opened,
    saml::what_was_signed_for_somebody_else_is_refused,
    saml::a_signature_is_not_moved_to_another_assertion,
    saml::keys_come_from_the_metadata_alone,
}
