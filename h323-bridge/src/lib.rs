//! H.323 for the multipoint controller: RAS and gatekeeper, H.225.0 call signalling, H.245 control,
//! H.239 second stream, H.235 security and H.460 traversal.
//!
//! It will be a protocol core without I/O, like `sip`, and translate into the same call vocabulary
//! (`mcu_api::call`), so that rooms never see which protocol a terminal speaks.
