# frozen_string_literal: true

# Drives a broker through bunny.
#
# One run of the steps listed in ../README.md. Every step asserts what the broker must do; the
# first that fails ends the program with exit code 1 and the step's name.

require 'bunny'
require 'logger'
require 'securerandom'
require 'timeout'
require 'uri'

RUN_SECONDS_MAX = 50
STEP_SECONDS_MAX = 10
MESSAGES = 10
PREFETCH = 3
REQUEUED = 2
REJECTED = 3
NACKED = 4

SENT_AT = 1_700_000_000

# Texts arrive as binary strings, and the library loses booleans inside an array.
HEADERS = {
  'flag' => true,
  'small' => 7,
  'large' => 2**40,
  'negative' => -5,
  'ratio' => 0.25,
  'text' => 'grün'.b,
  'nothing' => nil,
  'moment' => Time.at(1_709_208_000),
  'list' => [1, 'two', 2.5],
  'table' => { 'inner' => 'value' }
}.freeze

class Failed < StandardError; end

def check(condition, message)
  raise Failed, message unless condition
end

def equal(actual, expected, what)
  check(actual == expected, "#{what}: expected #{expected.inspect}, got #{actual.inspect}")
end

def body(number)
  "body #{number}" * (number + 1)
end

def properties(number, user)
  {
    content_type: 'text/plain',
    content_encoding: 'utf-8',
    headers: HEADERS,
    delivery_mode: 2,
    priority: 4,
    correlation_id: "correlation-#{number}",
    reply_to: 'replies',
    expiration: '60000',
    message_id: number.to_s,
    timestamp: SENT_AT,
    type: 'order',
    user_id: user,
    app_id: 'matrix'
  }
end

# The library takes the timestamp as a number and gives it as a Time.
def received(number, user)
  properties(number, user).merge(timestamp: Time.at(SENT_AT))
end

# The steps, in the order of STEPS, on one connection.
class Scenario
  STEPS = %i[
    declare_and_bind publish_with_confirms consume_and_settle see_return get
    see_not_found see_precondition_failed use_recovered_channel
  ].freeze

  def initialize(connection)
    prefix = "matrix-bunny-#{SecureRandom.uuid}"
    @connection = connection
    @exchange = "#{prefix}.events"
    @work = "#{prefix}.work"
    @audit = "#{prefix}.audit"
    open_channel
  end

  def run
    begin
      STEPS.each { |step| run_step(step) }
    rescue Failed
      # What failed is worth more than a clean-up that fails for the same reason.
      begin
        run_step(:clean_up)
      rescue Failed
        nil
      end
      raise
    end
    run_step(:clean_up)
  end

  private

  def run_step(step)
    Timeout.timeout(STEP_SECONDS_MAX) { send(step) }
  rescue StandardError => e
    raise Failed, "#{step}: #{e.class}: #{e.message}"
  end

  def open_channel
    @channel = @connection.create_channel
    @channel.confirm_select
  end

  def declare_and_bind
    @channel.exchange_declare(@exchange, 'topic')
    { @work => 'order.*', @audit => 'order.last' }.each do |queue, pattern|
      declared = @channel.queue_declare(queue)
      equal([declared.queue, declared.message_count, declared.consumer_count], [queue, 0, 0],
            'declared queue')
      @channel.queue_bind(queue, @exchange, routing_key: pattern)
    end
  end

  # Publishes all before it waits, so that confirms may arrive in any grouping.
  def publish_with_confirms
    MESSAGES.times do |number|
      key = number == MESSAGES - 1 ? 'order.last' : "order.#{number}"
      publish(@exchange, key, body(number), properties(number, @connection.user))
    end
    await_confirms
  end

  def publish(exchange, key, payload, options = {})
    @channel.basic_publish(payload, exchange, key, options.merge(mandatory: true))
  end

  def await_confirms
    equal(@channel.wait_for_confirms, true, 'all messages confirmed')
  end

  def consume_and_settle
    arriving = Queue.new
    @channel.basic_qos(PREFETCH)
    consume_ok = @channel.basic_consume(@work) { |*delivery| arriving << delivery }
    deliveries = Array.new(PREFETCH) { arriving.pop }
    equal(counts, [MESSAGES - PREFETCH, 1], 'counts while the prefetch window is full')
    check(arriving.empty?, 'more deliveries than the prefetch window allows')
    (MESSAGES + 1).times do |settled|
      deliveries << arriving.pop if settled == deliveries.size
      settle(*deliveries[settled])
    end
    @channel.basic_cancel(consume_ok.consumer_tag)
    check_deliveries(deliveries)
    equal(counts, [0, 0], 'counts after settling all')
  end

  def counts
    found = @channel.queue_declare(@work, passive: true)
    [found.message_count, found.consumer_count]
  end

  def settle(info, properties, _payload)
    number = Integer(properties.message_id)
    tag = info.delivery_tag
    if number == REQUEUED && !info.redelivered?
      @channel.basic_nack(tag, false, true)
    elsif number == REJECTED
      @channel.basic_reject(tag, false)
    elsif number == NACKED
      @channel.basic_nack(tag, false, false)
    else
      @channel.basic_ack(tag)
    end
  end

  def check_deliveries(deliveries)
    again, first = deliveries.partition { |info, *| info.redelivered? }
    equal(first.map(&:last), Array.new(MESSAGES) { |number| body(number) }, 'bodies, in order')
    equal(again.map(&:last), [body(REQUEUED)], 'redelivered bodies')
    first.each_with_index do |(info, found, _), number|
      equal(info.exchange, @exchange, 'exchange of the delivery')
      equal(found.to_hash, received(number, @connection.user), 'properties')
    end
  end

  def see_return
    returned = Queue.new
    exchange = Bunny::Exchange.new(@channel, :topic, @exchange, no_declare: true)
    exchange.on_return { |*arguments| returned << arguments }
    publish(@exchange, 'nowhere', 'lost')
    await_confirms
    info, _properties, payload = returned.pop
    equal([info.reply_code, info.reply_text], [312, 'NO_ROUTE'], 'reply of the return')
    equal([info.exchange, info.routing_key, payload], [@exchange, 'nowhere', 'lost'], 'return')
  end

  def get
    info, found, payload = @channel.basic_get(@audit, manual_ack: true)
    check(info, 'the second queue holds no message')
    equal(payload, body(MESSAGES - 1), 'body')
    equal(found.to_hash, received(MESSAGES - 1, @connection.user), 'properties')
    equal([info.redelivered, info.message_count], [false, 0], 'redelivered and count')
    @channel.basic_ack(info.delivery_tag.to_i)
    equal(@channel.basic_get(@audit), [nil, nil, nil], 'get from an empty queue')
  end

  def see_not_found
    closes(404, Bunny::NotFound) { @channel.queue_declare("#{@work}.missing", passive: true) }
  end

  def see_precondition_failed
    closes(406, Bunny::PreconditionFailed) { @channel.queue_declare(@work, durable: true) }
  end

  def closes(code, exception)
    begin
      yield
      raise Failed, "the channel was not closed with #{code}"
    rescue exception => e
      equal(e.channel_close.reply_code, code, 'code of the channel close')
    end
    check(@channel.closed?, 'the channel is still open')
    check(@connection.open?, 'the connection did not survive a channel exception')
    open_channel
  end

  def use_recovered_channel
    publish('', @work, 'after')
    await_confirms
    info, _properties, payload = @channel.basic_get(@work, manual_ack: false)
    check(info, 'the message published after recovery is missing')
    equal([payload, info.routing_key], ['after', @work], 'body and routing key')
  end

  def clean_up
    channel = @connection.create_channel
    [@work, @audit].each { |queue| channel.queue_delete(queue) }
    channel.exchange_delete(@exchange)
  end
end

# The library reads a path of "/" as the virtual host "", the matrix as the default one.
def settings(url)
  parsed = URI.parse(url)
  vhost = URI.decode_www_form_component(parsed.path.delete_prefix('/'))
  {
    host: parsed.host,
    port: parsed.port || 5672,
    user: URI.decode_www_form_component(parsed.user || 'guest'),
    pass: URI.decode_www_form_component(parsed.password || 'guest'),
    vhost: vhost.empty? ? '/' : vhost,
    automatically_recover: false,
    connection_timeout: STEP_SECONDS_MAX,
    continuation_timeout: STEP_SECONDS_MAX * 1000,
    # The channel exceptions that the steps provoke would be logged as warnings.
    logger: Logger.new($stderr, level: Logger::FATAL)
  }
end

def main
  connection = Bunny.new(settings(ENV.fetch('AMQP_URL')))
  connection.start
  Scenario.new(connection).run
  connection.close
  puts "ok bunny #{Bunny::VERSION}"
end

begin
  Timeout.timeout(RUN_SECONDS_MAX) { main }
rescue StandardError => e
  warn "FAIL bunny: #{e.class}: #{e.message}"
  exit 1
end
