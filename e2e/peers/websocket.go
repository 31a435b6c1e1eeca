package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lxzan/gws"
)

// As much as a message may have; the biggest of the Autobahn cases has 16 MiB.
const most = 64 << 20

type echo struct{ gws.BuiltinEventHandler }

func (echo) OnPing(socket *gws.Conn, payload []byte) { _ = socket.WritePong(payload) }

func (echo) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = socket.WriteMessage(message.Opcode, message.Bytes())
}

// serveWebSocket sends each message back as it came, and says by what name in a header.
func serveWebSocket(address, name string) error {
	upgrader := gws.NewUpgrader(echo{}, &gws.ServerOption{
		CheckUtf8Enabled: true, ReadMaxPayloadSize: most, WriteMaxPayloadSize: most,
		PermessageDeflate: gws.PermessageDeflate{Enabled: true, ServerContextTakeover: true, ClientContextTakeover: true},
		ResponseHeader:    http.Header{"From": {name}},
	})
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if socket, err := upgrader.Upgrade(w, r); err == nil {
			socket.ReadLoop()
		}
	}))
}

// A caller hands on what it hears.
type caller struct {
	gws.BuiltinEventHandler
	heard chan []byte
	ended chan error
}

func (c caller) OnMessage(_ *gws.Conn, message *gws.Message) {
	c.heard <- bytes.Clone(message.Bytes())
	_ = message.Close()
}
func (c caller) OnPong(_ *gws.Conn, payload []byte) { c.heard <- bytes.Clone(payload) }
func (c caller) OnClose(_ *gws.Conn, err error)     { c.ended <- err }

// talk has a conversation with a server of that name, until both have closed it.
func talk(address, mark, name string) error {
	c := caller{heard: make(chan []byte, 1), ended: make(chan error, 1)}
	socket, answer, err := gws.NewClient(c, &gws.ClientOption{
		Addr: "ws://" + address, RequestHeader: http.Header{"Version": {mark}}, ReadMaxPayloadSize: most,
	})
	if err != nil {
		return err
	}
	if err := same(answer.Header.Get("From"), name); err != nil {
		return err
	}
	go socket.ReadLoop()
	for turn := range 50 {
		text := fmt.Appendf(nil, "turn %d", turn)
		if err := errors.Join(socket.WriteMessage(gws.OpcodeText, text), c.hears(text)); err != nil {
			return err
		}
	}
	big := bytes.Repeat([]byte{0, 255, 13, 10}, 1<<18)
	err = errors.Join(socket.WriteMessage(gws.OpcodeBinary, big), c.hears(big))
	err = errors.Join(err, socket.WritePing([]byte("ping")), c.hears([]byte("ping")))
	if err := errors.Join(err, socket.WriteClose(4001, []byte("done"))); err != nil {
		return err
	}
	fmt.Println("good: a conversation with", name)
	return nil
}

func (c caller) hears(wanted []byte) error {
	select {
	case got := <-c.heard:
		if !bytes.Equal(got, wanted) {
			return fmt.Errorf("got %d bytes that are not the %d sent", len(got), len(wanted))
		}
		return nil
	case err := <-c.ended:
		return fmt.Errorf("the server has closed: %w", err)
	case <-time.After(10 * time.Second):
		return errors.New("no answer within 10 s")
	}
}
