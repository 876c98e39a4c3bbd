//! `wasi:otel/metrics`: what the guest's instruments have counted, as the guest has put it together.

use prost::Message;
use roadstead_runtime::InstanceState;
use roadstead_telemetry::{
    Signal,
    proto::metrics::v1::{
        AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
        HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    },
};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;

use super::{
    Withheld, bound,
    common::{attributes, id, nanoseconds, scope},
    wit::metrics::{self as guest, Host, MetricData, MetricNumber},
};

impl Host for InstanceState {
    fn export(&mut self, metrics: guest::ResourceMetrics) -> wasmtime::Result<Result<(), String>> {
        let bound = bound(self)?;
        let scopes = metrics.scope_metrics.into_iter().map(|of_scope| {
            let (scope, schema_url) = scope(of_scope.scope);
            ScopeMetrics { scope: Some(scope), metrics: of_scope.metrics.into_iter().map(metric).collect(), schema_url }
        });
        let message = ResourceMetrics {
            scope_metrics: scopes.collect(),
            resource: Some(bound.resource(attributes(metrics.resource.attributes))),
            schema_url: metrics.resource.schema_url.unwrap_or_default(),
        };
        let sent = bound.send(self, "metrics", message.encoded_len(), Signal::Metrics(message));
        Ok(match sent {
            // A component is not to do otherwise where nobody looks.
            Ok(()) | Err(Withheld::NoCollector) => Ok(()),
            Err(Withheld::OverLimit) => {
                let limits = &bound.limits;
                let (items, bytes) = (limits.otel_items_per_call_max, limits.otel_bytes_per_call_max);
                Err(format!(
                    "the call has sent as much as it may: {items} items (otel_items_per_call_max) of {bytes} bytes \
                     together (otel_bytes_per_call_max)"
                ))
            }
        })
    }
}

fn metric(metric: guest::Metric) -> Metric {
    let data = match metric.data {
        MetricData::F64Gauge(it) | MetricData::U64Gauge(it) | MetricData::S64Gauge(it) => Data::Gauge(gauge(it)),
        MetricData::F64Sum(it) | MetricData::U64Sum(it) | MetricData::S64Sum(it) => Data::Sum(sum(it)),
        MetricData::F64Histogram(it) | MetricData::U64Histogram(it) | MetricData::S64Histogram(it) => {
            Data::Histogram(histogram(it))
        }
        MetricData::F64ExponentialHistogram(it)
        | MetricData::U64ExponentialHistogram(it)
        | MetricData::S64ExponentialHistogram(it) => Data::ExponentialHistogram(exponential_histogram(it)),
    };
    Metric {
        name: metric.name,
        description: metric.description,
        unit: metric.unit,
        data: Some(data),
        ..Metric::default()
    }
}

fn gauge(gauge: guest::Gauge) -> Gauge {
    let (start, time) = (gauge.start_time.map(nanoseconds).unwrap_or_default(), nanoseconds(gauge.time));
    let points = gauge.data_points.into_iter();
    let points = points.map(|point| number_point(point.attributes, point.value, point.exemplars, start, time));
    Gauge { data_points: points.collect() }
}

fn sum(sum: guest::Sum) -> Sum {
    let (start, time) = span(sum.start_time, sum.time);
    let points = sum.data_points.into_iter();
    let points = points.map(|point| number_point(point.attributes, point.value, point.exemplars, start, time));
    Sum {
        data_points: points.collect(),
        aggregation_temporality: temporality(sum.temporality),
        is_monotonic: sum.is_monotonic,
    }
}

fn number_point(
    said: Vec<super::wit::types::KeyValue>,
    value: MetricNumber,
    exemplars: Vec<guest::Exemplar>,
    start: u64,
    time: u64,
) -> NumberDataPoint {
    let value = match whole(value) {
        Ok(whole) => number_data_point::Value::AsInt(whole),
        Err(broken) => number_data_point::Value::AsDouble(broken),
    };
    NumberDataPoint {
        attributes: attributes(said),
        start_time_unix_nano: start,
        time_unix_nano: time,
        exemplars: exemplars.into_iter().map(exemplar).collect(),
        value: Some(value),
        flags: 0,
    }
}

fn histogram(histogram: guest::Histogram) -> Histogram {
    let (start, time) = span(histogram.start_time, histogram.time);
    let points = histogram.data_points.into_iter().map(|point| HistogramDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(broken(point.sum)),
        bucket_counts: point.bucket_counts,
        explicit_bounds: point.bounds,
        exemplars: point.exemplars.into_iter().map(exemplar).collect(),
        flags: 0,
        min: point.min.map(broken),
        max: point.max.map(broken),
    });
    Histogram { data_points: points.collect(), aggregation_temporality: temporality(histogram.temporality) }
}

fn exponential_histogram(histogram: guest::ExponentialHistogram) -> ExponentialHistogram {
    let (start, time) = span(histogram.start_time, histogram.time);
    let buckets = |bucket: guest::ExponentialBucket| Buckets { offset: bucket.offset, bucket_counts: bucket.counts };
    let points = histogram.data_points.into_iter().map(|point| ExponentialHistogramDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(broken(point.sum)),
        scale: point.scale.into(),
        zero_count: point.zero_count,
        positive: Some(buckets(point.positive_bucket)),
        negative: Some(buckets(point.negative_bucket)),
        flags: 0,
        exemplars: point.exemplars.into_iter().map(exemplar).collect(),
        min: point.min.map(broken),
        max: point.max.map(broken),
        zero_threshold: point.zero_threshold,
    });
    ExponentialHistogram { data_points: points.collect(), aggregation_temporality: temporality(histogram.temporality) }
}

fn exemplar(exemplar: guest::Exemplar) -> Exemplar {
    let value = match whole(exemplar.value) {
        Ok(whole) => exemplar::Value::AsInt(whole),
        Err(broken) => exemplar::Value::AsDouble(broken),
    };
    Exemplar {
        filtered_attributes: attributes(exemplar.filtered_attributes),
        time_unix_nano: nanoseconds(exemplar.time),
        span_id: id::<8>(&exemplar.span_id).unwrap_or_default(),
        trace_id: id::<16>(&exemplar.trace_id).unwrap_or_default(),
        value: Some(value),
    }
}

fn span(start: Datetime, end: Datetime) -> (u64, u64) {
    (nanoseconds(start), nanoseconds(end))
}

fn temporality(said: guest::Temporality) -> i32 {
    match said {
        guest::Temporality::Cumulative => AggregationTemporality::Cumulative.into(),
        // For counters and histograms, which alone have one, the two are the same.
        guest::Temporality::Delta | guest::Temporality::LowMemory => AggregationTemporality::Delta.into(),
    }
}

/// A number as the whole one that it is; else as a broken one. OTLP has no whole numbers beyond 2^63.
fn whole(number: MetricNumber) -> Result<i64, f64> {
    match number {
        MetricNumber::S64(whole) => Ok(whole),
        #[expect(clippy::cast_precision_loss, reason = "the nearest there is")]
        MetricNumber::U64(whole) => i64::try_from(whole).map_err(|_| whole as f64),
        MetricNumber::F64(broken) => Err(broken),
    }
}

fn broken(number: MetricNumber) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the nearest there is")]
    whole(number).map_or_else(|broken| broken, |whole| whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_whole_where_they_can() {
        assert_eq!(whole(MetricNumber::U64(5)), Ok(5));
        assert_eq!(whole(MetricNumber::S64(-5)), Ok(-5));
        assert_eq!(whole(MetricNumber::F64(0.5)), Err(0.5));
        assert_eq!(whole(MetricNumber::U64(u64::MAX)), Err(18_446_744_073_709_551_616.0));
        assert!((broken(MetricNumber::S64(3)) - 3.0).abs() < f64::EPSILON);
    }
}
