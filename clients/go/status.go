package duebus

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

const (
	errorDomain = "duebus"
	// How gRPC refuses a message that is too large to read. Its status is the same as for a full topic.
	tooLarge = "larger than max"
)

// typedErrors translates the errors of unary calls.
func typedErrors(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	return translate(ctx, invoke(ctx, method, request, reply, conn, options...))
}

// typedStreamErrors translates the errors of streams.
func typedStreamErrors(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, options...)
	if err != nil {
		return nil, translate(ctx, err)
	}
	return typedStream{stream}, nil
}

type typedStream struct{ grpc.ClientStream }

func (s typedStream) SendMsg(message any) error {
	return translate(s.Context(), s.ClientStream.SendMsg(message))
}

func (s typedStream) RecvMsg(message any) error {
	return translate(s.Context(), s.ClientStream.RecvMsg(message))
}

// translate makes an *Error of a gRPC status. The reason in its details decides; without one, the code does.
func translate(ctx context.Context, err error) error {
	var typed *Error
	if err == nil || err == io.EOF || errors.As(err, &typed) {
		return err
	}
	from := status.Convert(err)
	typed = &Error{Code: from.Code(), Message: from.Message()}
	for _, detail := range from.Details() {
		typed.read(detail)
	}
	if typed.Reason == "" {
		typed.readCode()
	}
	if cause := ctx.Err(); cause != nil {
		typed.cause = cause
	}
	return typed
}

func (e *Error) read(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		if detail.Domain == errorDomain {
			e.Reason, e.Metadata = Reason(detail.Reason), detail.Metadata
		}
	case *errdetails.BadRequest:
		for _, each := range detail.FieldViolations {
			e.FieldViolations = append(e.FieldViolations, FieldViolation{each.Field, each.Description})
		}
	case *errdetails.RetryInfo:
		e.RetryAfter = detail.RetryDelay.AsDuration()
	case *duebusv1.PartialDispatch:
		e.StoredEngines, e.StoredEventIDs = detail.StoredEngines, detail.EventIds
	}
}

// readCode finds the reason of an error without details, from gRPC itself or a proxy.
func (e *Error) readCode() {
	switch e.Code {
	case codes.ResourceExhausted:
		e.Reason = "RESOURCE_EXHAUSTED"
		if strings.Contains(e.Message, tooLarge) {
			violation := FieldViolation{"request", "is larger than a message may be"}
			e.Reason, e.FieldViolations = ErrInvalidArgument, []FieldViolation{violation}
		}
	case codes.InvalidArgument:
		e.Reason = ErrInvalidArgument
	case codes.NotFound:
		e.Reason = ErrNotFound
	case codes.Internal:
		e.Reason = ErrInternal
	case codes.Unimplemented:
		e.Reason = ErrUnimplemented
	case codes.Unavailable:
		e.Reason = ErrUnavailable
	case codes.DeadlineExceeded:
		// The server may notice a moment before the caller's context does.
		e.Reason, e.cause = ErrDeadlineExceeded, context.DeadlineExceeded
	case codes.Canceled:
		e.Reason = ErrCancelled
	case codes.Unauthenticated:
		e.Reason = ErrUnauthenticated
	case codes.PermissionDenied:
		e.Reason = ErrPermissionDenied
	default:
		// For example "DATA_LOSS", as in the other languages.
		e.Reason = Reason(strings.ToUpper(snake(e.Code.String())))
	}
}

// snake makes DataLoss data_Loss.
func snake(name string) string {
	var out strings.Builder
	for i, letter := range name {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			out.WriteByte('_')
		}
		out.WriteRune(letter)
	}
	return out.String()
}
