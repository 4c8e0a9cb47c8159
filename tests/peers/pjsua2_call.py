"""One call by PJSIP: plays a sound file, records what it hears, hangs up after a while.

Arguments: URI, transport (udp, tcp, tls), address here, keys (clear, sdes, dtls), file to play,
file to record, seconds. Prints "up" once media flows; exits with 1 when the call fails.
"""

import os
import sys
import time

import pjsua2 as pj

uri, transport, here, keys, play, record, seconds = sys.argv[1:8]
TRANSPORTS = {
    ("udp", "4"): pj.PJSIP_TRANSPORT_UDP,
    ("tcp", "4"): pj.PJSIP_TRANSPORT_TCP,
    ("tls", "4"): pj.PJSIP_TRANSPORT_TLS,
    ("udp", "6"): pj.PJSIP_TRANSPORT_UDP6,
    ("tcp", "6"): pj.PJSIP_TRANSPORT_TCP6,
    ("tls", "6"): pj.PJSIP_TRANSPORT_TLS6,
}
family = "6" if ":" in here else "4"
here_in_uri = here if family == "4" else f"[{here}]"


class Call(pj.Call):
    """Joins files and call once media is there."""

    up = False
    over = None

    def onCallState(self, prm):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.over = f"{info.lastStatusCode} {info.lastReason}"

    def onCallMediaState(self, prm):
        # The list lives no longer than what it is of.
        info = self.getInfo()
        for number, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                sound = self.getAudioMedia(number)
                player.startTransmit(sound)
                sound.startTransmit(recorder)
                self.up = True
                print("up", flush=True)


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.logConfig.level = 1
config.logConfig.consoleLevel = 1
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
endpoint.libInit(config)
endpoint.audDevManager().setNullDev()
for codec in endpoint.codecEnum2():
    endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMA") else 0)
transport_config = pj.TransportConfig()
transport_config.boundAddress = here
transport_id = endpoint.transportCreate(TRANSPORTS[transport, family], transport_config)
endpoint.libStart()

account_config = pj.AccountConfig()
account_config.idUri = f"sip:pjsua2@{here_in_uri}"
account_config.sipConfig.transportId = transport_id
media = account_config.mediaConfig
media.transportConfig.boundAddress = here
media.srtpSecureSignaling = 0
if family == "6":
    media.ipv6Use = pj.PJSUA_IPV6_ENABLED
if keys == "clear":
    media.srtpUse = pj.PJMEDIA_SRTP_DISABLED
else:
    media.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
    keyings = pj.IntVector()
    keyings.append({"sdes": 0, "dtls": 1}[keys])
    media.srtpOpt.keyings = keyings
account = pj.Account()
account.create(account_config)
player = pj.AudioMediaPlayer()
player.createPlayer(play)
recorder = pj.AudioMediaRecorder()
recorder.createRecorder(record)

call = Call(account)
call.makeCall(uri, pj.CallOpParam(True))
end = time.time() + float(seconds)
while time.time() < end and call.over is None:
    endpoint.libHandleEvents(20)
over = call.over
if over is None:
    secure = "SRTP status: Active" in call.dump(True, "")
    call.hangup(pj.CallOpParam())
    until = time.time() + 2
    while time.time() < until and call.over is None:
        endpoint.libHandleEvents(20)
    if secure != (keys != "clear"):
        over = "media is not keyed as wanted"
del player, recorder
if over is not None:
    print("over:", over, flush=True)
# Objects of the library may be torn down in no order.
os._exit(0 if over is None and call.up else 1)
