// Peer is the other side of the router's tests, in another language and by other hands than ours:
//
//	peer web ADDRESS              serves HTTP/1.1 and HTTP/2 without TLS
//	peer websocket ADDRESS NAME   sends each message of a WebSocket back, and says by what name
//	peer events ADDRESS NAME      sends events (SSE) with that name
//	peer grpc ADDRESS NAME        serves gRPC, and says by what name
//	peer talk ADDRESS MARK NAME   has a conversation with such a WebSocket; MARK goes along
//	peer listen ADDRESS MARK NAME hears such events; MARK goes along
//	peer call ADDRESS MARK NAME   calls such a gRPC server in all ways; MARK goes along as metadata
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// What there is to do with an address, a mark and a name, whichever of them it takes.
var deeds = map[string]struct {
	words int
	do    func(address, mark, name string) error
}{
	"web":       {1, func(address, _, _ string) error { return serveWeb(address) }},
	"websocket": {2, func(address, _, name string) error { return serveWebSocket(address, name) }},
	"events":    {2, func(address, _, name string) error { return serveEvents(address, name) }},
	"grpc":      {2, func(address, _, name string) error { return serveGRPC(address, name) }},
	"talk":      {3, talk},
	"listen":    {3, listen},
	"call":      {3, call},
}

func run(words []string) error {
	if len(words) > 1 {
		deed, known := deeds[words[0]]
		given := words[1:]
		if known && len(given) == deed.words {
			mark := ""
			if len(given) == 3 {
				mark = given[1]
			}
			return deed.do(given[0], mark, given[len(given)-1])
		}
	}
	return fmt.Errorf("unknown words %q", words)
}
