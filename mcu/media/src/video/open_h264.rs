//! H.264 by OpenH264.

use std::{ptr, slice};

use mcu_api::codec::{H264Profile, PacketizationMode, VideoClass};
use openh264_sys2::{self as wels, API as _};

use super::colour::{Colour, Matrix, Range};
use super::encoder::{AccessUnit, EncodeError};
use super::frame::{Frame, Plane};
use super::pace::Pace;

/// Calls a function of the encoder's table, which OpenH264 always fills.
macro_rules! call {
    ($encoder:expr, $function:ident $(, $argument:expr)*) => {
        match (**$encoder).$function {
            Some(function) => function($encoder $(, $argument)*),
            None => wels::cmInitParaError,
        }
    };
}

/// Longest NAL unit where a packet carries exactly one (RFC 6184 §6.2).
const NAL_MAX_BYTES: u32 = 1200;
/// The encoder is told of another frame rate where it differs by so much: its rate control begins its
/// targets anew with each.
const RATE_STEP: f32 = 0.1;

/// Encodes one class on the caller's thread.
///
/// Constrained baseline is profile_idc 66 with CAVLC; high is 100 with CABAC, without the 8×8
/// transform, which OpenH264 does not have. Key frames come first and when forced, never by
/// themselves.
pub struct Encoder {
    library: wels::DynamicAPI,
    encoder: *mut wels::ISVCEncoder,
    width: u32,
    height: u32,
    pace: Pace,
    /// Pictures a second by which it spends its bits.
    frame_rate: f32,
    layered: bool,
    info: Box<wels::SFrameBSInfo>,
    buffer: Vec<u8>,
}

// SAFETY: an OpenH264 encoder with one thread has no ties to the thread that made it; it is reached
// only through `&mut`.
unsafe impl Send for Encoder {}

impl Encoder {
    /// See [`super::Encoder::with_layers`].
    pub fn new(class: &VideoClass, colour: Colour, layered: bool) -> Result<Self, EncodeError> {
        let (width, height) = (class.width, class.height);
        let fits = |side| (16..=3840).contains(&side);
        let even = width.is_multiple_of(2) && height.is_multiple_of(2);
        if !even || !fits(width) || !fits(height) || width.min(height) > 2160 {
            return Err(EncodeError::ClassSize { width, height });
        }
        let library = wels::DynamicAPI::from_source();
        let mut encoder = ptr::null_mut();
        // SAFETY: writes one pointer; the encoder is owned by `this` from then on.
        check("WelsCreateSVCEncoder", unsafe {
            library.WelsCreateSVCEncoder(&mut encoder)
        })?;
        let this = Self {
            library,
            encoder,
            width: u32::from(width),
            height: u32::from(height),
            pace: Pace::new(class.frame_rate),
            frame_rate: class.frame_rate.into(),
            layered,
            info: Box::default(),
            buffer: Vec::new(),
        };
        this.initialize(class, colour)?;
        Ok(this)
    }

    /// Encodes one picture. `None`: the rate control left it out.
    pub fn encode(&mut self, frame: &Frame) -> Result<Option<AccessUnit<'_>>, EncodeError> {
        let (width, height) = (frame.width(), frame.height());
        if (width, height) != (self.width, self.height) {
            return Err(EncodeError::FrameSize { width, height });
        }
        self.pace.pass(frame.pts());
        self.follow_pace();
        let source = source_picture(frame);
        // SAFETY: the encoder is initialised; it reads the planes, which hold all their rows, and
        // fills the description of its own output.
        let code = unsafe { call!(self.encoder, EncodeFrame, &source, &mut *self.info) };
        check("EncodeFrame", code)?;
        self.buffer.clear();
        if self.info.eFrameType == wels::videoFrameTypeSkip {
            return Ok(None);
        }
        self.gather();
        let key = self.info.eFrameType == wels::videoFrameTypeIDR;
        Ok((!self.buffer.is_empty()).then_some(AccessUnit {
            bytes: &self.buffer,
            key,
            splits: &[],
            droppable: self.is_droppable(),
        }))
    }

    /// See [`super::Encoder::is_layered`].
    pub fn is_layered(&self) -> bool {
        self.layered
    }

    /// Whether the last picture is of the upper layer.
    fn is_droppable(&self) -> bool {
        let layers = usize::try_from(self.info.iLayerNum).unwrap_or(0);
        let mut layers = self.info.sLayerInfo.iter().take(layers);
        self.layered && layers.any(|layer| layer.uiTemporalId > 0)
    }

    /// Makes the next picture an IDR picture.
    pub fn force_key_frame(&mut self) {
        // SAFETY: the encoder is initialised; a refusal leaves it as it was.
        let code = unsafe { call!(self.encoder, ForceIntraFrame, true) };
        debug_assert_eq!(code, 0);
    }

    /// Changes the rate that is held, in bit/s.
    pub fn set_bitrate(&mut self, bitrate_bps: u32) -> Result<(), EncodeError> {
        let bits = bitrate_bps.min(i32::MAX as u32) as i32;
        let mut info = wels::SBitrateInfo {
            iLayer: wels::SPATIAL_LAYER_0,
            iBitrate: bits,
        };
        // Each call compares target and maximum. Downwards the first complains, though it has set
        // the maximum; the second finds both in order either way.
        let mut code = 0;
        for option in [
            wels::ENCODER_OPTION_MAX_BITRATE,
            wels::ENCODER_OPTION_BITRATE,
        ] {
            // SAFETY: the option is a bit rate and `info` is what it takes.
            code = unsafe { call!(self.encoder, SetOption, option, (&raw mut info).cast()) };
        }
        check("SetOption(bitrate)", code)
    }

    /// Its rate control counts pictures, so it is told how many of them come.
    fn follow_pace(&mut self) {
        let mut frame_rate = self.pace.frame_rate();
        if (frame_rate / self.frame_rate - 1.0).abs() < RATE_STEP {
            return;
        }
        let option = wels::ENCODER_OPTION_FRAME_RATE;
        // SAFETY: the option is a frame rate and takes a float.
        let code = unsafe {
            call!(
                self.encoder,
                SetOption,
                option,
                (&raw mut frame_rate).cast()
            )
        };
        debug_assert_eq!(code, 0);
        self.frame_rate = frame_rate;
    }

    fn initialize(&self, class: &VideoClass, colour: Colour) -> Result<(), EncodeError> {
        let mut parameters = wels::SEncParamExt::default();
        let mut quiet = wels::WELS_LOG_QUIET;
        let trace_level = (&raw mut quiet).cast();
        // SAFETY: the encoder was created; the parameters are filled in by it and then by us, and
        // read during the call only. The log's level may be set before.
        unsafe {
            call!(
                self.encoder,
                SetOption,
                wels::ENCODER_OPTION_TRACE_LEVEL,
                trace_level
            );
            check(
                "GetDefaultParams",
                call!(self.encoder, GetDefaultParams, &mut parameters),
            )?;
            describe(&mut parameters, class);
            parameters.iTemporalLayerNum = if self.layered { 2 } else { 1 };
            describe_layer(&mut parameters.sSpatialLayers[0], class, colour);
            check(
                "InitializeExt",
                call!(self.encoder, InitializeExt, &parameters),
            )
        }
    }

    /// Copies the NAL units out of OpenH264's memory.
    fn gather(&mut self) {
        let layers = usize::try_from(self.info.iLayerNum).unwrap_or(0);
        for layer in self.info.sLayerInfo.iter().take(layers) {
            let units = usize::try_from(layer.iNalCount).unwrap_or(0);
            if units == 0 || layer.pNalLengthInByte.is_null() || layer.pBsBuf.is_null() {
                continue;
            }
            // SAFETY: OpenH264 wrote as many lengths as it counted, and their sum of bytes.
            unsafe {
                let lengths = slice::from_raw_parts(layer.pNalLengthInByte, units);
                let bytes: i64 = lengths.iter().map(|&length| i64::from(length)).sum();
                let bytes = usize::try_from(bytes).unwrap_or(0);
                self.buffer
                    .extend_from_slice(slice::from_raw_parts(layer.pBsBuf, bytes));
            }
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: created by `new`, ended and destroyed once.
        unsafe {
            call!(self.encoder, Uninitialize);
            self.library.WelsDestroySVCEncoder(self.encoder);
        }
    }
}

/// What holds for the whole encoder.
fn describe(parameters: &mut wels::SEncParamExt, class: &VideoClass) {
    let bitrate = class.bitrate_bps.min(i32::MAX as u32) as i32;
    parameters.iUsageType = wels::CAMERA_VIDEO_REAL_TIME;
    parameters.iPicWidth = i32::from(class.width);
    parameters.iPicHeight = i32::from(class.height);
    parameters.iTargetBitrate = bitrate;
    parameters.iMaxBitrate = bitrate;
    parameters.iRCMode = wels::RC_BITRATE_MODE;
    parameters.bEnableFrameSkip = true; // else the rate is not held
    parameters.fMaxFrameRate = f32::from(class.frame_rate);
    parameters.iSpatialLayerNum = 1;
    parameters.iComplexityMode = wels::LOW_COMPLEXITY;
    parameters.uiIntraPeriod = 0;
    // Parameter sets keep their numbers: a receiver that lost one gets the same with the next IDR.
    parameters.eSpsPpsIdStrategy = wels::CONSTANT_ID;
    parameters.bEnableSceneChangeDetect = false; // key frames are ours to decide
    parameters.iMultipleThreadIdc = 1;
    parameters.iEntropyCodingModeFlag = i32::from(class.profile == H264Profile::High);
    parameters.uiMaxNalSize = match class.packetization {
        PacketizationMode::SingleNal => NAL_MAX_BYTES,
        PacketizationMode::NonInterleaved => 0,
    };
}

/// What holds for its one layer.
fn describe_layer(layer: &mut wels::SSpatialLayerConfig, class: &VideoClass, colour: Colour) {
    layer.iVideoWidth = i32::from(class.width);
    layer.iVideoHeight = i32::from(class.height);
    layer.fFrameRate = f32::from(class.frame_rate);
    layer.iSpatialBitrate = class.bitrate_bps.min(i32::MAX as u32) as i32;
    layer.iMaxSpatialBitrate = layer.iSpatialBitrate;
    layer.uiProfileIdc = match class.profile {
        H264Profile::ConstrainedBaseline => wels::PRO_BASELINE,
        H264Profile::High => wels::PRO_HIGH,
    };
    layer.uiLevelIdc = i32::from(class.level_idc);
    match class.packetization {
        PacketizationMode::SingleNal => {
            layer.sSliceArgument.uiSliceMode = wels::SM_SIZELIMITED_SLICE;
            layer.sSliceArgument.uiSliceSizeConstraint = NAL_MAX_BYTES;
        }
        PacketizationMode::NonInterleaved => {
            layer.sSliceArgument.uiSliceMode = wels::SM_SINGLE_SLICE;
            layer.sSliceArgument.uiSliceNum = 1;
        }
    }
    // H.264 tables E-2 to E-5.
    let (primaries, transfer, matrix) = match colour.matrix {
        Matrix::Bt709 => (wels::CP_BT709, wels::TRC_BT709, wels::CM_BT709),
        Matrix::Bt601 => (wels::CP_SMPTE170M, wels::TRC_SMPTE170M, wels::CM_SMPTE170M),
    };
    layer.bVideoSignalTypePresent = true;
    layer.uiVideoFormat = wels::VF_UNDEF as u8;
    layer.bFullRange = colour.range == Range::Full;
    layer.bColorDescriptionPresent = true;
    layer.uiColorPrimaries = primaries as u8;
    layer.uiTransferCharacteristics = transfer as u8;
    layer.uiColorMatrix = matrix as u8;
}

fn source_picture(frame: &Frame) -> wels::SSourcePicture {
    let planes = [0, 1, 2].map(|index| frame.plane(index));
    assert!(planes.iter().all(Plane::is_whole));
    let mut source = wels::SSourcePicture {
        iColorFormat: wels::videoFormatI420,
        iPicWidth: frame.width() as i32,
        iPicHeight: frame.height() as i32,
        uiTimeStamp: frame.pts() / 90, // ms
        ..Default::default()
    };
    for (index, plane) in planes.iter().enumerate() {
        source.pData[index] = plane.data.as_ptr().cast_mut(); // only read
        source.iStride[index] = plane.stride as i32;
    }
    source
}

fn check(call: &'static str, code: i32) -> Result<(), EncodeError> {
    if code == 0 {
        Ok(())
    } else {
        Err(EncodeError::OpenH264 { call, code })
    }
}
