//! A room with two browsers, a video terminal and a small leg: everybody sees and hears everybody
//! else, measured where it arrives (VTC-01, MCU-03, MCU-04, MCU-08).

use tests::meeting::everybody_sees_and_hears_everybody_else;
use tests::server::Server;

#[test]
fn two_browsers_a_terminal_and_a_small_leg_see_and_hear_each_other() {
    everybody_sees_and_hears_everybody_else(&Server::demo());
}
