//! The text that Prometheus reads (text format 0.0.4).

use mcu_api::capacity::Ports;
use mcu_api::figures::{Calls, Control, Direction, Kind, Media, Process};
use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};
use tracing::error;

use super::counts::Counts;
use super::files::Files;
use super::{Part, Snapshot};

/// Media type of the text.
pub(crate) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything as text. What cannot be written is left out, and logged: it would be a fault of ours.
pub(crate) fn text(snapshot: &Snapshot, counts: &Counts) -> String {
    let sheet = Sheet::default();
    let mut families = match sheet.fill(snapshot) {
        Ok(()) => sheet.registry.gather(),
        Err(fault) => {
            error!(error = %fault, "metrics are left out");
            Vec::new()
        }
    };
    families.extend(counts.registry.gather());
    let text = TextEncoder::new().encode_to_string(&families);
    text.unwrap_or_else(|fault| {
        error!(error = %fault, "metrics cannot be written");
        String::new()
    })
}

/// Metrics of one moment.
#[derive(Default)]
struct Sheet {
    registry: Registry,
}

type Result<T> = prometheus::Result<T>;
/// Values of labels, and the figure.
type Row<'a> = (&'a [&'a str], f64);

impl Sheet {
    fn fill(&self, now: &Snapshot) -> Result<()> {
        self.processes(now)?;
        if let Some(control) = &now.control {
            self.control(control)?;
            self.calls(&control.calls)?;
        }
        if let Some(media) = now.control.as_ref().and_then(|c| c.media.as_ref()) {
            self.media(media)?;
        }
        let up = f64::from(u8::from(now.database.is_some()));
        self.gauge("consilium_database_up", "Whether the database answers.", up)?;
        if let Some(latency) = now.database {
            let help = "Time that the database took for a small statement.";
            let name = "consilium_database_latency_seconds";
            self.gauge(name, help, latency.as_secs_f64())?;
        }
        if let Some(held) = now.held {
            let help = "Number of the last entry of the audit log.";
            self.gauge("consilium_audit_entries", help, held.entries as f64)?;
            let help = "How long the webhooks' oldest message waits that has not arrived.";
            let waiting = held.waiting.as_secs_f64();
            self.gauge("consilium_webhook_oldest_waiting_seconds", help, waiting)?;
            let help = "Webhooks that the server has switched off.";
            self.gauge("consilium_webhooks_stopped", help, held.stopped as f64)?;
        }
        if let Some(state) = now.syslog {
            let up = f64::from(u8::from(state.connected));
            let help = "Whether there is a connection to the log host.";
            self.gauge("consilium_syslog_up", help, up)?;
            let help = "Number of the last signed entry that the log host was told.";
            self.gauge("consilium_syslog_sent_entries", help, state.seq as f64)?;
        }
        self.files(&now.files)
    }

    fn processes(&self, now: &Snapshot) -> Result<()> {
        let control = now.control.as_ref();
        let all = [
            ("manager", Some(&now.manager), now.parts.manager),
            ("control", control.map(|c| &c.process), now.parts.control),
            (
                "media",
                control.and_then(|c| c.media.as_ref()).map(|m| &m.process),
                now.parts.media,
            ),
        ];
        // Of what is not known nothing is said: the controller's death is not the media process's.
        let known = all.iter().filter(|(_, _, part)| *part != Part::Unknown);
        let up: Vec<([&str; 1], f64)> = known
            .map(|(name, _, part)| ([*name], f64::from(u8::from(*part == Part::Ready))))
            .collect();
        let up: Vec<Row<'_>> = up.iter().map(|(name, up)| (&name[..], *up)).collect();
        let help = "Whether a process is there and answers.";
        self.gauges("consilium_process_up", help, &["process"], &up)?;
        let told: Vec<(&str, &Process)> = all
            .into_iter()
            .filter_map(|(name, process, _)| Some((name, process?)))
            .collect();
        let info: Vec<[&str; 2]> = told
            .iter()
            .map(|(name, process)| [*name, process.version.as_str()])
            .collect();
        let info: Vec<Row<'_>> = info.iter().map(|labels| (&labels[..], 1.0)).collect();
        let help = "Version that a process is of.";
        self.gauges("consilium_build_info", help, &["process", "version"], &info)?;
        let rows = |figure: fn(&Process) -> f64| -> Vec<([&str; 1], f64)> {
            told.iter()
                .map(|(name, process)| ([*name], figure(process)))
                .collect()
        };
        let name = "consilium_process_uptime_seconds";
        let help = "Time since a process began.";
        let uptime = rows(|p| p.uptime_ms as f64 / 1000.0);
        self.gauges(name, help, &["process"], &as_rows(&uptime))?;
        let name = "consilium_process_memory_bytes";
        let help = "Resident memory of a process.";
        let memory = rows(|p| p.memory_bytes as f64);
        self.gauges(name, help, &["process"], &as_rows(&memory))?;
        let name = "consilium_process_restarts_total";
        let help = "How often the supervisor had to start a process again.";
        let restarts = rows(|p| f64::from(p.restarts));
        self.counters(name, help, &["process"], &as_rows(&restarts))?;
        let name = "consilium_process_cpu_seconds_total";
        let help = "Processor time of a process.";
        let cpu = rows(|p| p.cpu_ms as f64 / 1000.0);
        self.counters(name, help, &["process"], &as_rows(&cpu))
    }

    fn control(&self, control: &Control) -> Result<()> {
        let figures: [(&str, &str, u64); 7] = [
            (
                "consilium_rooms",
                "Rooms that somebody is in.",
                control.rooms,
            ),
            (
                "consilium_legs_limit",
                "Legs that there may be at a time.",
                control.max_legs,
            ),
            (
                "consilium_registered_accounts",
                "Accounts of terminals that are registered.",
                control.registered,
            ),
            (
                "consilium_sip_connections",
                "Connections over which SIP is spoken.",
                control.connections,
            ),
            (
                "consilium_port_pairs_used",
                "Pairs of media ports that legs have.",
                control.ports_used,
            ),
            (
                "consilium_port_pairs",
                "Pairs of media ports that there are.",
                control.ports,
            ),
            (
                "consilium_quarantined_sources",
                "Sources that are refused, since the media process died of what they sent.",
                control.quarantined,
            ),
        ];
        for (name, help, figure) in figures {
            self.gauge(name, help, figure as f64)?;
        }
        self.ports(control)?;
        if let Some(age) = control.media_age_ms {
            let help = "Time since the media process told of itself.";
            let name = "consilium_media_report_age_seconds";
            self.gauge(name, help, age as f64 / 1000.0)?;
        }
        Ok(())
    }

    fn ports(&self, control: &Control) -> Result<()> {
        let rows = |figure: fn(&Ports) -> f64| -> Vec<([&str; 1], f64)> {
            let classes = control.classes.iter();
            classes
                .map(|ports| ([ports.class.name()], figure(ports)))
                .collect()
        };
        let help = "Ports of a class that are taken.";
        let used = rows(|ports| ports.used.into());
        self.gauges("consilium_ports_used", help, &["class"], &as_rows(&used))?;
        let help = "So many more of a class could come, if none of another came.";
        let free = rows(|ports| ports.free.into());
        self.gauges("consilium_ports_free", help, &["class"], &as_rows(&free))?;
        let help = "Lines of the tallest pictures that terminals have where the machine is short of time; 0 \
                    where it is not.";
        let lines = control.lowered_to.unwrap_or_default();
        self.gauge("consilium_pictures_lowered_to_lines", help, lines.into())
    }

    fn calls(&self, calls: &[Calls]) -> Result<()> {
        let labels = ["kind", "direction"];
        let with_reason = ["kind", "direction", "reason"];
        let help = "Legs of rooms now, those that ring included.";
        let legs = self.gauge_vec("consilium_legs", help, &labels)?;
        let help = "Calls by which somebody came into a room.";
        let begun = self.counter_vec("consilium_calls_begun_total", help, &labels)?;
        let help = "Such calls that are over.";
        let ended = self.counter_vec("consilium_calls_ended_total", help, &with_reason)?;
        let help =
            "Attempts to come into a room, or to call somebody into it, that came to nothing.";
        let failed = self.counter_vec("consilium_calls_failed_total", help, &with_reason)?;
        for call in calls {
            let (kind, direction) = (kind(call.kind), direction(call.direction));
            let at = [kind, direction];
            legs.get_metric_with_label_values(&at)?
                .set(call.legs as f64);
            begun.get_metric_with_label_values(&at)?.inc_by(call.begun);
            for (counter, reasons) in [(&ended, &call.ended), (&failed, &call.failed)] {
                for (reason, count) in reasons {
                    let at = [kind, direction, reason];
                    counter.get_metric_with_label_values(&at)?.inc_by(*count);
                }
            }
        }
        Ok(())
    }

    fn media(&self, media: &Media) -> Result<()> {
        let both = [("received", &media.received), ("sent", &media.sent)];
        let direction = ["direction"];
        let help = "RTP packets of all legs.";
        let packets = self.counter_vec("consilium_media_packets_total", help, &direction)?;
        let help = "RTP bytes of all legs, headers included.";
        let bytes = self.counter_vec("consilium_media_bytes_total", help, &direction)?;
        let help = "RTP packets that were lost on their way.";
        let lost = self.counter_vec("consilium_media_packets_lost_total", help, &direction)?;
        let help = "Interarrival jitter of the leg that has most.";
        let name = "consilium_media_worst_jitter_seconds";
        let jitter = self.gauge_vec(name, help, &direction)?;
        let help = "Share of packets lost of the leg that loses most.";
        let loss = self.gauge_vec("consilium_media_worst_loss_ratio", help, &direction)?;
        let help = "RTP packets of sound that were lost on their way.";
        let name = "consilium_media_sound_packets_lost_total";
        let sound_lost = self.counter_vec(name, help, &direction)?;
        let help = "Score of the leg whose sound is worst, of those that are rated (ITU-T G.107).";
        let mos = self.gauge_vec("consilium_media_worst_mos", help, &direction)?;
        let help = "Time in which pictures of legs stood still for more than 0.2 s each.";
        let frozen = media.received.frozen_ms as f64 / 1000.0;
        let name = "consilium_media_frozen_seconds_total";
        self.counters(name, help, &[], &[(&[], frozen)])?;
        for (way, traffic) in both {
            sound_lost
                .get_metric_with_label_values(&[way])?
                .inc_by(traffic.sound_lost);
            if let Some(worst) = traffic.worst_mos {
                mos.get_metric_with_label_values(&[way])?.set(worst.into());
            }
            packets
                .get_metric_with_label_values(&[way])?
                .inc_by(traffic.packets);
            bytes
                .get_metric_with_label_values(&[way])?
                .inc_by(traffic.bytes);
            lost.get_metric_with_label_values(&[way])?
                .inc_by(traffic.lost);
            jitter
                .get_metric_with_label_values(&[way])?
                .set(f64::from(traffic.worst_jitter_ms) / 1000.0);
            loss.get_metric_with_label_values(&[way])?
                .set(f64::from(traffic.worst_loss_percent) / 100.0);
        }
        let name = "consilium_media_worker_cpu_seconds_total";
        let help = "Processor time of the thread that moves packets and mixes sound.";
        let spent = media.worker_cpu_ms as f64 / 1000.0;
        self.counters(name, help, &[], &[(&[], spent)])?;
        let name = "consilium_media_worker_longest_turn_seconds";
        let help = "Longest turn of that thread in the last second; sound is late from 0.02 on.";
        self.gauge(name, help, media.longest_turn_us as f64 / 1_000_000.0)?;
        let help = "Encoders of pictures that run.";
        self.gauge("consilium_media_encoders", help, f64::from(media.encoders))?;
        let help = "Decoders of pictures that run.";
        self.gauge("consilium_media_decoders", help, f64::from(media.decoders))?;
        if let Some(most) = media.max_frame_rate {
            let help = "Most pictures a second that are composed; fewer than 60 where the machine is short \
                        of time.";
            self.gauge("consilium_media_picture_rate_limit", help, f64::from(most))?;
            let help = "Share of the sites in composed pictures of which more than key frames are decoded.";
            let decoded = f64::from(media.decoded);
            self.gauge("consilium_media_decoded_ratio", help, decoded)?;
        }
        let help = "How long work on pictures waits for a processor, in the mean.";
        let waits = media.mean_wait_us as f64 / 1_000_000.0;
        self.gauge("consilium_media_picture_wait_seconds", help, waits)
    }

    fn files(&self, files: &Files) -> Result<()> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        if let Some(checkpoint) = &files.checkpoint {
            let help = "Number of the last entry of the audit log that is signed.";
            let name = "consilium_audit_signed_entries";
            self.gauge(name, help, checkpoint.seq as f64)?;
            let help = "When the last checkpoint of the audit log was signed.";
            let name = "consilium_audit_checkpoint_timestamp_seconds";
            self.gauge(name, help, seconds(checkpoint.at_ms))?;
        }
        if let Some(backups) = &files.backups {
            let help = "When the newest copy of the database was made; 0 where there is none.";
            let name = "consilium_backup_timestamp_seconds";
            self.gauge(name, help, seconds(backups.last_ms.unwrap_or(0)))?;
            let help = "Time from one copy of the database to the next.";
            let name = "consilium_backup_interval_seconds";
            self.gauge(name, help, backups.every_s as f64)?;
        }
        if let Some(certificate) = &files.certificate {
            let help = "When the certificate of the page expires.";
            let name = "consilium_certificate_expiry_timestamp_seconds";
            self.gauge(name, help, seconds(certificate.not_after_ms))?;
        }
        if let Some(disk) = &files.disk {
            let help = "Room that is left on the disk of the data folder.";
            self.gauge("consilium_disk_free_bytes", help, disk.free_bytes as f64)?;
            let help = "Size of the disk of the data folder.";
            self.gauge("consilium_disk_size_bytes", help, disk.total_bytes as f64)?;
        }
        Ok(())
    }

    fn gauge(&self, name: &str, help: &str, figure: f64) -> Result<()> {
        self.gauges(name, help, &[], &[(&[], figure)])
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str], rows: &[Row<'_>]) -> Result<()> {
        let gauge = self.gauge_vec(name, help, labels)?;
        for (values, figure) in rows {
            gauge.get_metric_with_label_values(values)?.set(*figure);
        }
        Ok(())
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str], rows: &[Row<'_>]) -> Result<()> {
        let counter = self.register(CounterVec::new(Opts::new(name, help), labels)?)?;
        for (values, figure) in rows {
            counter
                .get_metric_with_label_values(values)?
                .inc_by(*figure);
        }
        Ok(())
    }

    fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn register<M: Collector + Clone + 'static>(&self, made: M) -> Result<M> {
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }
}

fn as_rows<'a>(rows: &'a [([&'a str; 1], f64)]) -> Vec<Row<'a>> {
    rows.iter()
        .map(|(name, figure)| (&name[..], *figure))
        .collect()
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Terminal => "terminal",
        Kind::Browser => "browser",
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Incoming => "incoming",
        Direction::Outgoing => "outgoing",
    }
}
