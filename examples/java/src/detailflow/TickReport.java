// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import detailflow.Structs.detailflow_tick_report;
import java.time.Duration;

/** What a tick did: detailflow_tick_report. */
public final class TickReport {
    public final int unitCount;
    public final int stepCount;
    public final int decodeCount;
    public final int imageCount;

    /** Another tick would find work to do. */
    public final boolean more;

    public final Duration time;
    public final Duration longestUnit;
    public final Duration nextUnit;
    public final long readyCount;
    public final long parkedCount;

    TickReport(detailflow_tick_report report) {
        unitCount = report.unit_count;
        stepCount = report.step_count;
        decodeCount = report.decode_count;
        imageCount = report.image_count;
        more = report.more != 0;
        time = Duration.ofNanos(report.time_ns);
        longestUnit = Duration.ofNanos(report.longest_unit_ns);
        nextUnit = Duration.ofNanos(report.next_unit_ns);
        readyCount = report.ready_count;
        parkedCount = report.parked_count;
    }
}
