package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type text = wrapperspb.StringValue

// The service, written as the generator would: no generator is needed for it.
var service = grpc.ServiceDesc{
	ServiceName: "kt.Echo",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Up", Handler: up, ClientStreams: true},
		{StreamName: "Down", Handler: down, ServerStreams: true},
		{StreamName: "Both", Handler: both, ClientStreams: true, ServerStreams: true},
		{StreamName: "Hang", Handler: hang, ServerStreams: true},
		{StreamName: "Hung", Handler: hung, ServerStreams: true},
	},
}

// ended gets a word whenever a call of Hang was cancelled.
var ended = make(chan struct{}, 16)

func serveGRPC(address, name string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	server.RegisterService(&service, name)
	return server.Serve(listener)
}

// unary says who answers, in the answer, a header and a trailer; "fail" fails.
func unary(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	asked := new(text)
	if err := decode(asked); err != nil {
		return nil, err
	}
	mine := metadata.Pairs("from", srv.(string))
	if err := errors.Join(grpc.SetHeader(ctx, mine), grpc.SetTrailer(ctx, mine)); err != nil {
		return nil, err
	}
	if asked.Value == "fail" {
		return nil, status.Error(codes.FailedPrecondition, "as asked: 100 % ü")
	}
	return wrapperspb.String(asked.Value), nil
}

// up answers with all that came, after the caller has ended.
func up(_ any, stream grpc.ServerStream) error {
	var all []string
	for {
		part := new(text)
		switch err := stream.RecvMsg(part); {
		case errors.Is(err, io.EOF):
			return stream.SendMsg(wrapperspb.String(strings.Join(all, " ")))
		case err != nil:
			return err
		}
		all = append(all, part.Value)
	}
}

// down answers with three parts, and a trailer.
func down(srv any, stream grpc.ServerStream) error {
	asked := new(text)
	if err := stream.RecvMsg(asked); err != nil {
		return err
	}
	for count := range 3 {
		if err := stream.SendMsg(wrapperspb.String(fmt.Sprint(asked.Value, count))); err != nil {
			return err
		}
	}
	stream.SetTrailer(metadata.Pairs("from", srv.(string)))
	return nil
}

// both answers each part at once.
func both(_ any, stream grpc.ServerStream) error {
	for {
		part := new(text)
		switch err := stream.RecvMsg(part); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := stream.SendMsg(part); err != nil {
			return err
		}
	}
}

// hang answers once, and then only ends when it is cancelled.
func hang(_ any, stream grpc.ServerStream) error {
	if err := stream.SendMsg(wrapperspb.String("begun")); err != nil {
		return err
	}
	<-stream.Context().Done()
	ended <- struct{}{}
	return stream.Context().Err()
}

// hung answers as soon as a call of hang was cancelled.
func hung(_ any, stream grpc.ServerStream) error {
	select {
	case <-ended:
		return stream.SendMsg(wrapperspb.String("cancelled"))
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}
