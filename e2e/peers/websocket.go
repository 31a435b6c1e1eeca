package main

import (
	"net/http"

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

// serveWebSocket sends each message back as it came.
func serveWebSocket(address string) error {
	upgrader := gws.NewUpgrader(echo{}, &gws.ServerOption{
		CheckUtf8Enabled: true, ReadMaxPayloadSize: most, WriteMaxPayloadSize: most,
		PermessageDeflate: gws.PermessageDeflate{Enabled: true, ServerContextTakeover: true, ClientContextTakeover: true},
	})
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if socket, err := upgrader.Upgrade(w, r); err == nil {
			socket.ReadLoop()
		}
	}))
}
