/* Drives a broker through librabbitmq.
 *
 * One run of the steps listed in ../README.md. Every step asserts what the broker must do; the
 * first that fails ends the program with exit code 1 and the step's name.
 */

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum {
  RUN_SECONDS_MAX = 50,
  STEP_SECONDS_MAX = 10,
  CHANNEL_MAX = 0,
  FRAME_BYTES_MAX = 131072,
  HEARTBEAT_SECONDS = 30,
  MESSAGES = 10,
  PREFETCH = 3,
  REQUEUED = 2,
  REJECTED = 3,
  NACKED = 4,
  BODY_BYTES_MAX = 128,
  NAME_BYTES_MAX = 80,
  HEADERS = 10
};

static amqp_connection_state_t connection;
static amqp_channel_t channel = 1;
static const char *step = "start";
static const char *user;
static char exchange_name[NAME_BYTES_MAX];
static char work_name[NAME_BYTES_MAX];
static char audit_name[NAME_BYTES_MAX];

/* --- failing --- */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...) {
  va_list arguments;
  fprintf(stderr, "FAIL librabbitmq: %s: ", step);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void check(bool condition, const char *what) {
  if (!condition) fail("%s", what);
}

static void equal(long long actual, long long expected, const char *what) {
  if (actual != expected) fail("%s: expected %lld, got %lld", what, expected, actual);
}

static void out_of_time(int signal) {
  static const char text[] = "FAIL librabbitmq: out of time\n";
  (void)signal;
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(2);
  _exit(1);
}

static bool same_bytes(amqp_bytes_t left, amqp_bytes_t right) {
  return left.len == right.len && memcmp(left.bytes, right.bytes, left.len) == 0;
}

static void equal_bytes(amqp_bytes_t actual, amqp_bytes_t expected, const char *what) {
  if (!same_bytes(actual, expected)) {
    fail("%s: expected '%.*s', got '%.*s'", what, (int)expected.len, (char *)expected.bytes,
         (int)actual.len, (char *)actual.bytes);
  }
}

/* The reply code of a channel close, or 0 for a normal reply; anything else fails. */
static int close_code(amqp_rpc_reply_t reply) {
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return 0;
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
    fail("library: %s", amqp_error_string2(reply.library_error));
  }
  check(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION, "no reply");
  check(reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD, "the connection was closed");
  return ((amqp_channel_close_t *)reply.reply.decoded)->reply_code;
}

static void expect_reply(const char *what) {
  int code = close_code(amqp_get_rpc_reply(connection));
  if (code != 0) fail("%s: the channel was closed with %d", what, code);
}

static void expect_sent(int status, const char *what) {
  if (status != AMQP_STATUS_OK) fail("%s: %s", what, amqp_error_string2(status));
}

/* --- messages --- */

static amqp_field_value_t value(uint8_t kind) {
  amqp_field_value_t made;
  memset(&made, 0, sizeof made);
  made.kind = kind;
  return made;
}

static void add(amqp_table_t *table, const char *key, amqp_field_value_t made) {
  amqp_table_entry_t *entry = &table->entries[table->num_entries++];
  entry->key = amqp_cstring_bytes(key);
  entry->value = made;
}

static void add_numbers(amqp_table_t *table) {
  amqp_field_value_t made = value(AMQP_FIELD_KIND_BOOLEAN);
  made.value.boolean = 1;
  add(table, "flag", made);
  made = value(AMQP_FIELD_KIND_I32);
  made.value.i32 = -5;
  add(table, "negative", made);
  made = value(AMQP_FIELD_KIND_I64);
  made.value.i64 = INT64_C(1) << 40;
  add(table, "large", made);
  made = value(AMQP_FIELD_KIND_F64);
  made.value.f64 = 0.25;
  add(table, "ratio", made);
  made = value(AMQP_FIELD_KIND_DECIMAL);
  made.value.decimal.decimals = 2;
  made.value.decimal.value = 1234;
  add(table, "amount", made);
  made = value(AMQP_FIELD_KIND_TIMESTAMP);
  made.value.u64 = 1709208000;
  add(table, "moment", made);
}

static void add_others(amqp_table_t *table) {
  static amqp_field_value_t list[2];
  static amqp_table_entry_t inner[1];
  amqp_field_value_t made = value(AMQP_FIELD_KIND_UTF8);
  made.value.bytes = amqp_cstring_bytes("gr\xc3\xbcn");
  add(table, "text", made);
  add(table, "nothing", value(AMQP_FIELD_KIND_VOID));
  list[0] = value(AMQP_FIELD_KIND_I32);
  list[0].value.i32 = 1;
  list[1] = value(AMQP_FIELD_KIND_UTF8);
  list[1].value.bytes = amqp_cstring_bytes("two");
  made = value(AMQP_FIELD_KIND_ARRAY);
  made.value.array.num_entries = 2;
  made.value.array.entries = list;
  add(table, "list", made);
  inner[0].key = amqp_cstring_bytes("inner");
  inner[0].value = list[1];
  made = value(AMQP_FIELD_KIND_TABLE);
  made.value.table.num_entries = 1;
  made.value.table.entries = inner;
  add(table, "table", made);
}

static amqp_table_t headers(void) {
  static amqp_table_entry_t entries[HEADERS];
  amqp_table_t table = {0, entries};
  add_numbers(&table);
  add_others(&table);
  return table;
}

/* Bytes and texts of one message; they live until the next call. */
static amqp_basic_properties_t properties(int number) {
  static char correlation[32], message_id[16];
  amqp_basic_properties_t made;
  memset(&made, 0, sizeof made);
  snprintf(correlation, sizeof correlation, "correlation-%d", number);
  snprintf(message_id, sizeof message_id, "%d", number);
  made._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
                AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
                AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_REPLY_TO_FLAG |
                AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG |
                AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_USER_ID_FLAG | AMQP_BASIC_APP_ID_FLAG;
  made.content_type = amqp_cstring_bytes("text/plain");
  made.content_encoding = amqp_cstring_bytes("utf-8");
  made.headers = headers();
  made.delivery_mode = AMQP_DELIVERY_PERSISTENT;
  made.priority = 4;
  made.correlation_id = amqp_cstring_bytes(correlation);
  made.reply_to = amqp_cstring_bytes("replies");
  made.expiration = amqp_cstring_bytes("60000");
  made.message_id = amqp_cstring_bytes(message_id);
  made.timestamp = 1700000000;
  made.type = amqp_cstring_bytes("order");
  made.user_id = amqp_cstring_bytes(user);
  made.app_id = amqp_cstring_bytes("matrix");
  return made;
}

static amqp_bytes_t body(int number) {
  static char text[BODY_BYTES_MAX];
  text[0] = '\0';
  for (int copy = 0; copy <= number; copy++) {
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "body %d", number);
  }
  return amqp_cstring_bytes(text);
}

static bool same_value(const amqp_field_value_t *left, const amqp_field_value_t *right);

static amqp_table_entry_t *find(amqp_table_t table, amqp_bytes_t key) {
  for (int i = 0; i < table.num_entries; i++) {
    if (same_bytes(table.entries[i].key, key)) return &table.entries[i];
  }
  return NULL;
}

static bool same_table(amqp_table_t left, amqp_table_t right) {
  if (left.num_entries != right.num_entries) return false;
  for (int i = 0; i < right.num_entries; i++) {
    amqp_table_entry_t *expected = &right.entries[i];
    amqp_table_entry_t *found = find(left, expected->key);
    if (found == NULL || !same_value(&found->value, &expected->value)) return false;
  }
  return true;
}

static bool same_array(amqp_array_t left, amqp_array_t right) {
  if (left.num_entries != right.num_entries) return false;
  for (int i = 0; i < right.num_entries; i++) {
    if (!same_value(&left.entries[i], &right.entries[i])) return false;
  }
  return true;
}

static bool same_value(const amqp_field_value_t *left, const amqp_field_value_t *right) {
  if (left->kind != right->kind) return false;
  switch (right->kind) {
    case AMQP_FIELD_KIND_BOOLEAN: return left->value.boolean == right->value.boolean;
    case AMQP_FIELD_KIND_I32: return left->value.i32 == right->value.i32;
    case AMQP_FIELD_KIND_I64: return left->value.i64 == right->value.i64;
    case AMQP_FIELD_KIND_F64: return left->value.f64 == right->value.f64;
    case AMQP_FIELD_KIND_TIMESTAMP: return left->value.u64 == right->value.u64;
    case AMQP_FIELD_KIND_UTF8: return same_bytes(left->value.bytes, right->value.bytes);
    case AMQP_FIELD_KIND_ARRAY: return same_array(left->value.array, right->value.array);
    case AMQP_FIELD_KIND_TABLE: return same_table(left->value.table, right->value.table);
    case AMQP_FIELD_KIND_VOID: return true;
    case AMQP_FIELD_KIND_DECIMAL:
      return left->value.decimal.decimals == right->value.decimal.decimals &&
             left->value.decimal.value == right->value.decimal.value;
    default: return false;
  }
}

static void check_message(const amqp_message_t *message, int number) {
  const amqp_basic_properties_t *found = &message->properties;
  amqp_basic_properties_t expected = properties(number);
  equal(found->_flags, expected._flags, "flags of the properties present");
  check(same_table(found->headers, expected.headers), "the headers differ");
  equal_bytes(found->content_type, expected.content_type, "content type");
  equal_bytes(found->content_encoding, expected.content_encoding, "content encoding");
  equal(found->delivery_mode, expected.delivery_mode, "delivery mode");
  equal(found->priority, expected.priority, "priority");
  equal_bytes(found->correlation_id, expected.correlation_id, "correlation id");
  equal_bytes(found->reply_to, expected.reply_to, "reply to");
  equal_bytes(found->expiration, expected.expiration, "expiration");
  equal_bytes(found->message_id, expected.message_id, "message id");
  equal((long long)found->timestamp, (long long)expected.timestamp, "timestamp");
  equal_bytes(found->type, expected.type, "type");
  equal_bytes(found->user_id, expected.user_id, "user id");
  equal_bytes(found->app_id, expected.app_id, "app id");
  equal_bytes(message->body, body(number), "body");
}

/* --- steps --- */

static void declare(const char *queue, const char *pattern) {
  amqp_bytes_t name = amqp_cstring_bytes(queue);
  amqp_queue_declare_ok_t *declared =
      amqp_queue_declare(connection, channel, name, 0, 0, 0, 0, amqp_empty_table);
  expect_reply("queue.declare");
  equal_bytes(declared->queue, name, "name of the declared queue");
  equal(declared->message_count, 0, "ready messages");
  equal(declared->consumer_count, 0, "consumers");
  amqp_queue_bind(connection, channel, name, amqp_cstring_bytes(exchange_name),
                  amqp_cstring_bytes(pattern), amqp_empty_table);
  expect_reply("queue.bind");
}

static void declare_and_bind(void) {
  amqp_exchange_declare(connection, channel, amqp_cstring_bytes(exchange_name),
                        amqp_cstring_bytes("topic"), 0, 0, 0, 0, amqp_empty_table);
  expect_reply("exchange.declare");
  declare(work_name, "order.*");
  declare(audit_name, "order.last");
}

static void publish(const char *exchange, const char *key, const amqp_basic_properties_t *made,
                    amqp_bytes_t content) {
  int status = amqp_basic_publish(connection, channel, amqp_cstring_bytes(exchange),
                                  amqp_cstring_bytes(key), 1, 0, made, content);
  expect_sent(status, "basic.publish");
}

static amqp_method_t next_method(void) {
  struct timeval limit = {STEP_SECONDS_MAX, 0};
  amqp_frame_t frame;
  expect_sent(amqp_simple_wait_frame_noblock(connection, &frame, &limit), "waiting for a frame");
  equal(frame.frame_type, AMQP_FRAME_METHOD, "frame type");
  equal(frame.channel, channel, "channel");
  return frame.payload.method;
}

static void confirm_one(bool *confirmed, uint64_t tag) {
  if (confirmed[tag]) fail("message %d was confirmed twice", (int)tag);
  confirmed[tag] = true;
}

/* Confirms of the messages 1 to `last` may come in any order, one by one or several in one. */
static void await_confirms(uint64_t last) {
  bool confirmed[MESSAGES + 1] = {false};
  uint64_t outstanding = last;
  while (outstanding > 0) {
    amqp_method_t method = next_method();
    if (method.id != AMQP_BASIC_ACK_METHOD) fail("expected basic.ack, got %x", method.id);
    amqp_basic_ack_t *ack = method.decoded;
    check(ack->delivery_tag >= 1 && ack->delivery_tag <= last, "a confirm for no message");
    if (!ack->multiple) {
      confirm_one(confirmed, ack->delivery_tag);
      outstanding--;
      continue;
    }
    for (uint64_t tag = 1; tag <= ack->delivery_tag; tag++) {
      if (!confirmed[tag]) outstanding--;
      confirmed[tag] = true;
    }
  }
}

static void publish_with_confirms(void) {
  amqp_confirm_select(connection, channel);
  expect_reply("confirm.select");
  for (int number = 0; number < MESSAGES; number++) {
    char key[32];
    snprintf(key, sizeof key, "order.%d", number);
    amqp_basic_properties_t made = properties(number);
    publish(exchange_name, number == MESSAGES - 1 ? "order.last" : key, &made, body(number));
  }
  await_confirms(MESSAGES);
}

static amqp_queue_declare_ok_t counts(void) {
  amqp_queue_declare_ok_t *found = amqp_queue_declare(
      connection, channel, amqp_cstring_bytes(work_name), 1, 0, 0, 0, amqp_empty_table);
  expect_reply("passive queue.declare");
  return *found;
}

static amqp_envelope_t receive(void) {
  struct timeval limit = {STEP_SECONDS_MAX, 0};
  amqp_envelope_t envelope;
  close_code(amqp_consume_message(connection, &envelope, &limit, 0));
  equal_bytes(envelope.exchange, amqp_cstring_bytes(exchange_name), "exchange of the delivery");
  return envelope;
}

static void settle(const amqp_envelope_t *envelope, int number) {
  if (number == REQUEUED && !envelope->redelivered) {
    expect_sent(amqp_basic_nack(connection, channel, envelope->delivery_tag, 0, 1), "nack");
  } else if (number == REJECTED) {
    expect_sent(amqp_basic_reject(connection, channel, envelope->delivery_tag, 0), "reject");
  } else if (number == NACKED) {
    expect_sent(amqp_basic_nack(connection, channel, envelope->delivery_tag, 0, 0), "nack");
  } else {
    expect_sent(amqp_basic_ack(connection, channel, envelope->delivery_tag, 0), "ack");
  }
}

static void check_full_window(void) {
  struct timeval at_once = {0, 0};
  amqp_envelope_t envelope;
  amqp_queue_declare_ok_t full = counts();
  equal(full.message_count, MESSAGES - PREFETCH, "ready messages at a full window");
  equal(full.consumer_count, 1, "consumers");
  amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, &at_once, 0);
  equal(reply.library_error, AMQP_STATUS_TIMEOUT, "delivery beyond the prefetch window");
}

static void consume_and_settle(void) {
  amqp_envelope_t window[PREFETCH];
  int fresh = 0, again = 0;
  amqp_basic_qos(connection, channel, 0, PREFETCH, 0);
  expect_reply("basic.qos");
  amqp_basic_consume(connection, channel, amqp_cstring_bytes(work_name),
                     amqp_cstring_bytes("worker"), 0, 0, 0, amqp_empty_table);
  expect_reply("basic.consume");
  for (int i = 0; i < PREFETCH; i++) window[i] = receive();
  check_full_window();
  for (int i = 0; i < MESSAGES + 1; i++) {
    amqp_envelope_t envelope = i < PREFETCH ? window[i] : receive();
    int number = envelope.redelivered ? REQUEUED : fresh++;
    if (envelope.redelivered) again++;
    check_message(&envelope.message, number);
    settle(&envelope, number);
    amqp_destroy_envelope(&envelope);
  }
  equal(fresh, MESSAGES, "first deliveries");
  equal(again, 1, "redeliveries");
  amqp_basic_cancel(connection, channel, amqp_cstring_bytes("worker"));
  expect_reply("basic.cancel");
  equal(counts().message_count, 0, "ready messages after settling all");
}

static void see_return(void) {
  amqp_message_t message;
  publish(exchange_name, "nowhere", NULL, amqp_cstring_bytes("lost"));
  amqp_method_t method = next_method();
  if (method.id != AMQP_BASIC_RETURN_METHOD) fail("expected basic.return, got %x", method.id);
  amqp_basic_return_t *returned = method.decoded;
  equal(returned->reply_code, AMQP_NO_ROUTE, "reply code of the return");
  equal_bytes(returned->reply_text, amqp_cstring_bytes("NO_ROUTE"), "reply text of the return");
  equal_bytes(returned->exchange, amqp_cstring_bytes(exchange_name), "exchange of the return");
  equal_bytes(returned->routing_key, amqp_cstring_bytes("nowhere"), "routing key of the return");
  equal(close_code(amqp_read_message(connection, channel, &message, 0)), 0, "returned content");
  equal_bytes(message.body, amqp_cstring_bytes("lost"), "body of the return");
  amqp_destroy_message(&message);
  equal(next_method().id, AMQP_BASIC_ACK_METHOD, "confirm after the return");
}

/* Gets one message; `number` < 0 stands for the body "after" without properties. */
static void get_message(const char *queue, int number) {
  amqp_message_t message;
  amqp_rpc_reply_t reply = amqp_basic_get(connection, channel, amqp_cstring_bytes(queue), 0);
  equal(close_code(reply), 0, "basic.get");
  equal(reply.reply.id, AMQP_BASIC_GET_OK_METHOD, "reply to basic.get");
  amqp_basic_get_ok_t ok = *(amqp_basic_get_ok_t *)reply.reply.decoded;
  equal(ok.redelivered, 0, "redelivered");
  equal(ok.message_count, 0, "messages left");
  equal(close_code(amqp_read_message(connection, channel, &message, 0)), 0, "content");
  if (number < 0) {
    equal_bytes(message.body, amqp_cstring_bytes("after"), "body");
  } else {
    check_message(&message, number);
  }
  amqp_destroy_message(&message);
  expect_sent(amqp_basic_ack(connection, channel, ok.delivery_tag, 0), "ack");
}

static void get(void) {
  get_message(audit_name, MESSAGES - 1);
  amqp_rpc_reply_t reply = amqp_basic_get(connection, channel, amqp_cstring_bytes(audit_name), 0);
  equal(close_code(reply), 0, "basic.get");
  equal(reply.reply.id, AMQP_BASIC_GET_EMPTY_METHOD, "reply to basic.get on an empty queue");
}

static void open_channel(amqp_channel_t number) {
  channel = number;
  amqp_channel_open(connection, channel);
  expect_reply("channel.open");
}

static void answer_close_and_reopen(int expected) {
  amqp_channel_close_ok_t close_ok = {0};
  equal(close_code(amqp_get_rpc_reply(connection)), expected, "code of the channel close");
  int status = amqp_send_method(connection, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok);
  expect_sent(status, "channel.close-ok");
  open_channel(channel + 1);
}

static void see_not_found(void) {
  char missing[NAME_BYTES_MAX + 16];
  snprintf(missing, sizeof missing, "%s.missing", work_name);
  amqp_queue_declare(connection, channel, amqp_cstring_bytes(missing), 1, 0, 0, 0,
                     amqp_empty_table);
  answer_close_and_reopen(AMQP_NOT_FOUND);
}

static void see_precondition_failed(void) {
  amqp_queue_declare(connection, channel, amqp_cstring_bytes(work_name), 0, 1, 0, 0,
                     amqp_empty_table);
  answer_close_and_reopen(AMQP_PRECONDITION_FAILED);
}

static void use_recovered_channel(void) {
  amqp_confirm_select(connection, channel);
  expect_reply("confirm.select");
  publish("", work_name, NULL, amqp_cstring_bytes("after"));
  await_confirms(1);
  get_message(work_name, -1);
}

static void clean_up(void) {
  amqp_queue_delete(connection, channel, amqp_cstring_bytes(work_name), 0, 0);
  expect_reply("queue.delete");
  amqp_queue_delete(connection, channel, amqp_cstring_bytes(audit_name), 0, 0);
  expect_reply("queue.delete");
  amqp_exchange_delete(connection, channel, amqp_cstring_bytes(exchange_name), 0);
  expect_reply("exchange.delete");
}

/* --- running --- */

/* The library reads a path of "/" as the virtual host "", the matrix as the default one. */
static struct amqp_connection_info parse_url(void) {
  const char *given = getenv("AMQP_URL");
  struct amqp_connection_info info;
  check(given != NULL, "AMQP_URL is not set");
  char *url = strdup(given);
  if (amqp_parse_url(url, &info) != AMQP_STATUS_OK) fail("AMQP_URL '%s' is malformed", given);
  if (info.vhost[0] == '\0') info.vhost = (char *)"/";
  return info;
}

static void open_connection(void) {
  struct timeval limit = {STEP_SECONDS_MAX, 0};
  struct amqp_connection_info info = parse_url();
  connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  expect_sent(amqp_socket_open_noblock(socket, info.host, info.port, &limit), "connecting");
  expect_sent(amqp_set_handshake_timeout(connection, &limit), "handshake timeout");
  expect_sent(amqp_set_rpc_timeout(connection, &limit), "reply timeout");
  user = info.user;
  amqp_rpc_reply_t reply =
      amqp_login(connection, info.vhost, CHANNEL_MAX, FRAME_BYTES_MAX, HEARTBEAT_SECONDS,
                 AMQP_SASL_METHOD_PLAIN, info.user, info.password);
  equal(close_code(reply), 0, "login");
}

static void choose_names(void) {
  struct timeval now;
  gettimeofday(&now, NULL);
  char prefix[NAME_BYTES_MAX / 2 + 20];
  snprintf(prefix, sizeof prefix, "matrix-librabbitmq-%d-%llx", (int)getpid(),
           (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_usec);
  snprintf(exchange_name, sizeof exchange_name, "%s.events", prefix);
  snprintf(work_name, sizeof work_name, "%s.work", prefix);
  snprintf(audit_name, sizeof audit_name, "%s.audit", prefix);
}

static void run_step(const char *name, void (*run)(void)) {
  step = name;
  run();
}

int main(void) {
  signal(SIGALRM, out_of_time);
  alarm(RUN_SECONDS_MAX);
  choose_names();
  run_step("connect", open_connection);
  open_channel(1);
  run_step("declare and bind", declare_and_bind);
  run_step("publish with confirms", publish_with_confirms);
  run_step("consume and settle", consume_and_settle);
  run_step("see return", see_return);
  run_step("get", get);
  run_step("see not found", see_not_found);
  run_step("see precondition failed", see_precondition_failed);
  run_step("use recovered channel", use_recovered_channel);
  run_step("clean up", clean_up);
  equal(close_code(amqp_connection_close(connection, AMQP_REPLY_SUCCESS)), 0, "close");
  amqp_destroy_connection(connection);
  printf("ok librabbitmq %s\n", amqp_version());
  return 0;
}
