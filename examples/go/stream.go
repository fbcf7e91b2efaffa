package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "broker-sidecar/example/telemetry"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	protocolVersion = 1
	batchLoaves     = 50
	ovenCelsius     = 230
)

var errRejected = errors.New("the sidecar refused events")

type stream = grpc.BidiStreamingClient[pb.PublishRequest, pb.PublishResponse]

// deliver opens a session, sends all loaves and returns the highest sequence that is durable.
//
// It holds nothing over a restart: a producer that must not lose an event when it is killed needs a spool, and sends again what
// Welcome.durable_through does not cover. It fits into the window by waiting for each acknowledgement.
func deliver(ctx context.Context, socket, producer string, loaves []loaf) (uint64, error) {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	open, err := pb.NewTelemetryServiceClient(connection).Publish(ctx)
	if err != nil {
		return 0, err
	}
	if err := greet(open, producer); err != nil {
		return 0, err
	}
	var sent uint64
	for len(loaves) > 0 {
		part := loaves[:min(batchLoaves, len(loaves))]
		loaves = loaves[len(part):]
		message := batch(sent+1, part, ovenCelsius)
		sent += uint64(message.Count)
		if err := open.Send(&pb.PublishRequest{Message: &pb.PublishRequest_Batch{Batch: message}}); err != nil {
			return 0, reason(open, err)
		}
		if err := await(open, sent); err != nil {
			return 0, err
		}
	}
	return sent, leave(open)
}

func greet(open stream, producer string) error {
	now := time.Now()
	hello := &pb.Hello{
		ProtocolVersion: protocolVersion, ProducerId: producer, SessionId: fmt.Sprintf("%x", now.UnixNano()), FirstSequence: 1,
		SessionStartTimeUnixNano: uint64(now.UnixNano()), Resource: map[string]string{"service.name": producer},
	}
	if err := open.Send(&pb.PublishRequest{Message: &pb.PublishRequest_Hello{Hello: hello}}); err != nil {
		return reason(open, err)
	}
	answer, err := open.Recv()
	if err != nil {
		return err
	}
	if answer.GetWelcome() == nil {
		return fmt.Errorf("the sidecar did not answer Hello with Welcome: %v", answer)
	}
	for _, each := range defines() {
		if err := open.Send(&pb.PublishRequest{Message: &pb.PublishRequest_Define{Define: each}}); err != nil {
			return reason(open, err)
		}
	}
	return beat(open)
}

// beat says how the producer is. A long-lived one does so every Welcome.heartbeat_interval_ms, from a goroutine of its own.
func beat(open stream) error {
	now := uint64(time.Now().UnixNano())
	heartbeat := &pb.Heartbeat{
		TimeUnixNano: now,
		Conditions:   []*pb.Condition{{Name: "OvenHot", Ok: true, Reason: "Ready", SinceUnixNano: now}},
	}
	return open.Send(&pb.PublishRequest{Message: &pb.PublishRequest_Heartbeat{Heartbeat: heartbeat}})
}

// await reads acknowledgements until all through a sequence is durable.
func await(open stream, through uint64) error {
	for {
		answer, err := open.Recv()
		if err != nil {
			return err
		}
		ack := answer.GetAck()
		for _, each := range ack.GetRejected() {
			return fmt.Errorf("%w: %s: %s", errRejected, each.Reason, each.Message)
		}
		if ack.GetDurableThrough() >= through {
			return nil
		}
	}
}

func leave(open stream) error {
	goodbye := &pb.Goodbye{Reason: "done"}
	if err := open.Send(&pb.PublishRequest{Message: &pb.PublishRequest_Goodbye{Goodbye: goodbye}}); err != nil {
		return reason(open, err)
	}
	if err := open.CloseSend(); err != nil {
		return err
	}
	for { // what was sent is on its way until the sidecar ends the stream
		if _, err := open.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// reason is why the sidecar ended the stream; a failed Send says only that it did.
func reason(open stream, err error) error {
	if _, status := open.Recv(); status != nil {
		return status
	}
	return err
}
