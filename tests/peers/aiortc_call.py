"""One call by aiortc over SIP of its own: plays a clip, records what it hears, keeps what it sees.

Arguments: number, server's ADDRESS and port, transport (udp, tcp, tls), address here, clip to play,
sound file to record, picture file to keep (the latest of each second), seconds. Prints "up" once the
other side is connected; exits with 1 when the call fails. Media is DTLS-SRTP with ICE, as aiortc has no
other.
"""

import asyncio
import os
import random
import ssl
import sys

import aioice.ice
import av
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer, MediaRecorder

number, server, port, transport, here, clip, heard, seen, seconds = sys.argv[1:10]
# One family of addresses alone, and no other interface.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [here]


def bracketed(address):
    return f"[{address}]" if ":" in address else address


class Datagrams(asyncio.DatagramProtocol):
    """SIP over UDP."""

    def __init__(self):
        self.received = asyncio.Queue()

    def connection_made(self, channel):
        self.channel = channel

    def datagram_received(self, data, _):
        self.received.put_nowait(data.decode())

    def send(self, text):
        self.channel.sendto(text.encode())

    async def receive(self):
        return await self.received.get()

    def port(self):
        return self.channel.get_extra_info("sockname")[1]


class Stream:
    """SIP over TCP or TLS."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, text):
        self.writer.write(text.encode())

    async def receive(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        body = await self.reader.readexactly(int(header(head, "content-length") or 0))
        return head + body.decode()

    def port(self):
        return self.writer.get_extra_info("sockname")[1]


def header(message, name):
    for line in message.split("\r\n\r\n")[0].split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None


async def connect():
    if transport == "udp":
        loop = asyncio.get_running_loop()
        _, datagrams = await loop.create_datagram_endpoint(
            Datagrams, local_addr=(here, 0), remote_addr=(server, int(port))
        )
        return datagrams
    context = None
    if transport == "tls":
        # The server's certificate is its own.
        context = ssl._create_unverified_context()
    return Stream(
        *await asyncio.open_connection(server, int(port), ssl=context, local_addr=(here, 0))
    )


class Call:
    """An INVITE, its ACK and the BYE."""

    def __init__(self, line):
        self.line = line
        self.id = f"{random.getrandbits(64):x}"
        self.uri = f"sip:{number}@{bracketed(server)}:{port};transport={transport}"
        self.to = f"<{self.uri}>"

    def request(self, method, cseq, body=""):
        at = f"{bracketed(here)}:{self.line.port()}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.line.send(
            f"{method} {self.uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/{transport.upper()} {at};branch=z9hG4bK{self.id}{method};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:aiortc@{at}>;tag={self.id}\r\nTo: {self.to}\r\n"
            f"Call-ID: {self.id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:aiortc@{at};transport={transport}>\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    async def answer(self, offer):
        self.request("INVITE", 1, offer)
        while True:
            message = await self.line.receive()
            status = int(message.split(" ")[1])
            if status >= 300:
                raise RuntimeError(message.split("\r\n")[0])
            if status >= 200:
                self.to = header(message, "to")
                self.uri = header(message, "contact").split("<")[1].split(">")[0]
                self.request("ACK", 1)
                return message.split("\r\n\r\n", 1)[1]


def with_names(answer, offer):
    """SIP knows no names of lines; aiortc wants its own back (RFC 9143 lets an answer leave them out)."""
    names = iter(line for line in offer.split("\r\n") if line.startswith("a=mid:"))
    lines = []
    for line in answer.split("\r\n"):
        lines.append(line)
        if line.startswith("m=") and "a=mid:" not in answer:
            lines.append(next(names))
    return "\r\n".join(lines)


async def keep_pictures(track):
    """Writes what is seen as a picture, once a second."""
    last = 0.0
    while True:
        frame = await track.recv()
        if frame.time - last < 1.0:
            continue
        last = frame.time
        with av.open(seen + ".new.png", "w", format="image2") as file:
            stream = file.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "rgb24"
            for packet in stream.encode(frame.reformat(format="rgb24")) + stream.encode(None):
                file.mux(packet)
        os.replace(seen + ".new.png", seen)


async def main():
    connection = RTCPeerConnection()
    player = MediaPlayer(clip, loop=True)
    connection.addTrack(player.audio)
    connection.addTrack(player.video)
    recorder = MediaRecorder(heard)
    connected = asyncio.Event()
    pictures = []

    @connection.on("track")
    def on_track(track):
        if track.kind == "audio":
            recorder.addTrack(track)
        else:
            pictures.append(asyncio.ensure_future(keep_pictures(track)))

    @connection.on("connectionstatechange")
    def on_state():
        if connection.connectionState == "connected":
            connected.set()

    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    call = Call(await connect())
    answer = with_names(await asyncio.wait_for(call.answer(offer), 10), offer)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await recorder.start()
    await asyncio.wait_for(connected.wait(), 10)
    print("up", flush=True)
    await asyncio.sleep(float(seconds))
    call.request("BYE", 2)
    await asyncio.wait_for(call.line.receive(), 5)
    await recorder.stop()


try:
    asyncio.run(asyncio.wait_for(main(), 60))
except Exception as error:
    print("over:", repr(error), flush=True)
    os._exit(1)
# What is left of the connection ends with the process.
os._exit(0)
