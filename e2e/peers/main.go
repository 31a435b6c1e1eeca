// Peer is the other side of the router's tests, in another language and by other hands than ours:
//
//	peer web ADDRESS            serves HTTP/1.1 and HTTP/2 without TLS
//	peer websocket ADDRESS      sends each message of a WebSocket back
//	peer grpc ADDRESS NAME      serves gRPC, and says by what name
//	peer call ADDRESS MARK NAME calls such a server in all ways; MARK goes along as metadata
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

func run(words []string) error {
	switch {
	case len(words) == 2 && words[0] == "web":
		return serveWeb(words[1])
	case len(words) == 2 && words[0] == "websocket":
		return serveWebSocket(words[1])
	case len(words) == 3 && words[0] == "grpc":
		return serveGRPC(words[1], words[2])
	case len(words) == 4 && words[0] == "call":
		return call(words[1], words[2], words[3])
	}
	return fmt.Errorf("unknown words %q", words)
}
