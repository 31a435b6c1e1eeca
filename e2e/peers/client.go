package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A client of one connection, whose server must have the name.
type client struct {
	connection *grpc.ClientConn
	name       string
}

// call does everything that gRPC can do, and prints what went well and what did not.
func call(address, mark, name string) error {
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	marked := metadata.AppendToOutgoingContext(context.Background(), "version", mark)
	c := client{connection, name}
	cases := []struct {
		name string
		try  func(context.Context) error
	}{
		{"unary", c.unary}, {"an error", c.fails}, {"an unknown method", c.unknown}, {"a big message", c.big},
		{"a stream up", c.up}, {"a stream down", c.down}, {"a stream both ways", c.both},
		{"a cancelled stream", c.cancelled}, {"a deadline", c.deadline}, {"many at once", c.many},
	}
	for _, each := range cases {
		ctx, cancel := context.WithTimeout(marked, 10*time.Second)
		if err := each.try(ctx); err != nil {
			fmt.Printf("bad: %s: %q\n", each.name, err)
		} else {
			fmt.Println("good:", each.name)
		}
		cancel()
	}
	return nil
}

func (c client) unary(ctx context.Context) error {
	var header, trailer metadata.MD
	got := new(text)
	err := c.connection.Invoke(ctx, "/kt.Echo/Unary", wrapperspb.String("hello"), got, grpc.Header(&header), grpc.Trailer(&trailer))
	return errors.Join(err, same(got.Value, "hello"), c.from(header), c.from(trailer))
}

func (c client) fails(ctx context.Context) error {
	var trailer metadata.MD
	err := c.connection.Invoke(ctx, "/kt.Echo/Unary", wrapperspb.String("fail"), new(text), grpc.Trailer(&trailer))
	return errors.Join(is(err, codes.FailedPrecondition), same(status.Convert(err).Message(), "as asked: 100 % ü"), c.from(trailer))
}

func (c client) unknown(ctx context.Context) error {
	return is(c.connection.Invoke(ctx, "/kt.Echo/None", wrapperspb.String(""), new(text)), codes.Unimplemented)
}

func (c client) big(ctx context.Context) error {
	big, got := strings.Repeat("x", 3<<20), new(text)
	err := c.connection.Invoke(ctx, "/kt.Echo/Unary", wrapperspb.String(big), got)
	return errors.Join(err, same(fmt.Sprint(len(got.Value)), fmt.Sprint(len(big))))
}

func (c client) stream(ctx context.Context, method string) (grpc.ClientStream, error) {
	return c.connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/kt.Echo/"+method)
}

func (c client) up(ctx context.Context) error {
	stream, err := c.stream(ctx, "Up")
	if err != nil {
		return err
	}
	for _, part := range []string{"a", "b", "c"} {
		if err := stream.SendMsg(wrapperspb.String(part)); err != nil {
			return err
		}
	}
	return errors.Join(stream.CloseSend(), receive(stream, "a b c"), atEnd(stream))
}

func (c client) down(ctx context.Context) error {
	stream, err := c.stream(ctx, "Down")
	if err != nil {
		return err
	}
	err = errors.Join(stream.SendMsg(wrapperspb.String("n")), stream.CloseSend())
	return errors.Join(err, receive(stream, "n0"), receive(stream, "n1"), receive(stream, "n2"), atEnd(stream), c.from(stream.Trailer()))
}

// both waits for each part before it sends the next: nothing may be held back.
func (c client) both(ctx context.Context) error {
	stream, err := c.stream(ctx, "Both")
	if err != nil {
		return err
	}
	for _, part := range []string{"a", "b", "c"} {
		if err := errors.Join(stream.SendMsg(wrapperspb.String(part)), receive(stream, part)); err != nil {
			return err
		}
	}
	return errors.Join(stream.CloseSend(), atEnd(stream))
}

// cancelled wants the server to learn of it.
func (c client) cancelled(ctx context.Context) error {
	begun, cancel := context.WithCancel(ctx)
	defer cancel()
	hang, err := c.stream(begun, "Hang")
	if err != nil {
		return err
	}
	if err := errors.Join(hang.CloseSend(), receive(hang, "begun")); err != nil {
		return err
	}
	cancel()
	hung, err := c.stream(ctx, "Hung")
	if err != nil {
		return err
	}
	return errors.Join(hung.CloseSend(), receive(hung, "cancelled"))
}

func (c client) deadline(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	hang, err := c.stream(short, "Hang")
	if err != nil {
		return err
	}
	return errors.Join(hang.CloseSend(), receive(hang, "begun"), is(hang.RecvMsg(new(text)), codes.DeadlineExceeded))
}

func (c client) many(ctx context.Context) error {
	errs := make([]error, 300)
	var all sync.WaitGroup
	for index := range errs {
		all.Go(func() { errs[index] = c.unary(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c client) from(data metadata.MD) error {
	return same(strings.Join(data.Get("from"), ","), c.name)
}

func receive(stream grpc.ClientStream, wanted string) error {
	got := new(text)
	return errors.Join(stream.RecvMsg(got), same(got.Value, wanted))
}

func atEnd(stream grpc.ClientStream) error {
	if err := stream.RecvMsg(new(text)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("no end but %v", err)
	}
	return nil
}

func is(err error, wanted codes.Code) error {
	return same(status.Code(err).String(), wanted.String())
}

func same(got, wanted string) error {
	if got != wanted {
		return fmt.Errorf("got %q, wanted %q", got, wanted)
	}
	return nil
}
