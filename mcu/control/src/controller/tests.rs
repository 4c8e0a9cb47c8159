//! Tests of the controller in virtual time.
