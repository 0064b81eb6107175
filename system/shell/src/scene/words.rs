//! What the shell says itself: dates, sizes and times in the language of the screen.
//!
//! Sentences that stand on pages are in `ui/lang`; here is only what is put together from numbers.

use super::updates::Trouble;
use jiff::Zoned;

/// A language of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Simplified Chinese.
    Chinese,
    /// Spanish.
    Spanish,
}

/// Every language, in the order in which Settings offers them.
pub const LANGUAGES: [Language; 3] = [Language::English, Language::Chinese, Language::Spanish];

const WEEKDAYS: [[&str; 3]; 7] = [
    ["Sunday", "星期日", "Domingo"],
    ["Monday", "星期一", "Lunes"],
    ["Tuesday", "星期二", "Martes"],
    ["Wednesday", "星期三", "Miércoles"],
    ["Thursday", "星期四", "Jueves"],
    ["Friday", "星期五", "Viernes"],
    ["Saturday", "星期六", "Sábado"],
];

const MONTHS: [[&str; 2]; 12] = [
    ["January", "enero"],
    ["February", "febrero"],
    ["March", "marzo"],
    ["April", "abril"],
    ["May", "mayo"],
    ["June", "junio"],
    ["July", "julio"],
    ["August", "agosto"],
    ["September", "septiembre"],
    ["October", "octubre"],
    ["November", "noviembre"],
    ["December", "diciembre"],
];

impl Language {
    /// The one that a setting names; English for a word that is no language of ours.
    pub fn from_tag(tag: &str) -> Self {
        match tag.split('-').next() {
            Some("zh") => Self::Chinese,
            Some("es") => Self::Spanish,
            _ => Self::English,
        }
    }

    /// As the setting names it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
            Self::Spanish => "es",
        }
    }

    /// Its place in [`LANGUAGES`].
    pub fn index(self) -> usize {
        self as usize
    }

    fn pick<T: Copy>(self, words: [T; 3]) -> T {
        words[self.index()]
    }

    /// The day of the week.
    pub fn weekday(self, time: &Zoned) -> &'static str {
        WEEKDAYS[time.weekday().to_sunday_zero_offset() as usize][self.index()]
    }

    /// The day and the month.
    pub fn date(self, time: &Zoned) -> String {
        let day = time.day();
        match self {
            Self::English => format!("{day} {}", self.month_name(time)),
            Self::Chinese => format!("{}月{day}日", time.month()),
            Self::Spanish => format!("{day} de {}", self.month_name(time)),
        }
    }

    /// The day of the week, the day and the month.
    pub fn full_date(self, time: &Zoned) -> String {
        let (weekday, date) = (self.weekday(time), self.date(time));
        match self {
            Self::English | Self::Spanish => format!("{weekday}, {date}"),
            Self::Chinese => format!("{date} {weekday}"),
        }
    }

    /// The month and the year, as a heading.
    pub fn month(self, time: &Zoned) -> String {
        let year = time.year();
        match self {
            Self::English => format!("{} {year}", self.month_name(time)),
            Self::Chinese => format!("{year}年{}月", time.month()),
            Self::Spanish => {
                let name = self.month_name(time);
                let mut letters = name.chars();
                let first: String = letters
                    .next()
                    .into_iter()
                    .flat_map(char::to_uppercase)
                    .collect();
                format!("{first}{} de {year}", letters.as_str())
            }
        }
    }

    fn month_name(self, time: &Zoned) -> &'static str {
        MONTHS[time.month() as usize - 1][usize::from(self == Self::Spanish)]
    }

    /// Hours and minutes, and the half of the day where there are two.
    pub fn time(self, time: &Zoned, hours_24: bool) -> (String, &'static str) {
        let minute = time.minute();
        if hours_24 {
            return (format!("{:02}:{minute:02}", time.hour()), "");
        }
        let hour = match time.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let half = if time.hour() < 12 {
            self.pick(["AM", "上午", "a. m."])
        } else {
            self.pick(["PM", "下午", "p. m."])
        };
        (format!("{hour}:{minute:02}"), half)
    }

    /// When something happened: the time today, else the date.
    pub fn when(self, happened: &Zoned, now: &Zoned, hours_24: bool) -> String {
        if happened.date() == now.date() {
            let (time, half) = self.time(happened, hours_24);
            if half.is_empty() {
                time
            } else {
                format!("{time} {half}")
            }
        } else {
            self.date(happened)
        }
    }

    /// A number of bytes, with the unit that leaves one to three digits.
    pub fn bytes(self, bytes: u64) -> String {
        const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
        let mut value = bytes as f64;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && value < 9.95);
        let mut number = format!("{value:.digits$}");
        if self == Self::Spanish {
            number = number.replace('.', ",");
        }
        format!("{number} {}", UNITS[unit])
    }

    /// A length of time, in its two largest units.
    pub fn duration(self, seconds: u64) -> String {
        let [day, hour, minute, second] = self.pick([
            ["d", "h", "min", "s"],
            ["天", "小时", "分钟", "秒"],
            ["d", "h", "min", "s"],
        ]);
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        if days > 0 {
            format!("{days} {day} {hours} {hour}")
        } else if hours > 0 {
            format!("{hours} {hour} {minutes} {minute}")
        } else if minutes > 0 {
            format!("{minutes} {minute}")
        } else {
            format!("{seconds} {second}")
        }
    }

    /// Processor time, in seconds.
    pub fn processor_time(self, microseconds: u64) -> String {
        let seconds = microseconds as f64 / 1e6;
        let digits = usize::from(seconds < 10.0);
        let mut number = format!("{seconds:.digits$}");
        if self == Self::Spanish {
            number = number.replace('.', ",");
        }
        format!("{number} s")
    }

    /// Which program the shell speaks for: what it posts itself.
    pub fn program(self, program: &str) -> String {
        match program {
            "services" => self.pick(["Services", "服务", "Servicios"]).into(),
            "settings" => self.pick(["Settings", "设置", "Ajustes"]).into(),
            "files" => self.pick(["Files", "文件", "Archivos"]).into(),
            "mesh" | "state" => self.pick(["Devices", "设备", "Dispositivos"]).into(),
            "update" => self.pick(["Update", "更新", "Actualización"]).into(),
            "network" => self.pick(["Network", "网络", "Red"]).into(),
            "time" => self.pick(["Time", "时间", "Hora"]).into(),
            "shell" => self.pick(["Screen", "屏幕", "Pantalla"]).into(),
            other => other.to_owned(),
        }
    }

    /// The title and the text of a notification about trouble.
    pub fn trouble(self, trouble: &Trouble) -> (String, String) {
        match trouble {
            Trouble::Service { name, problem } => (
                match self {
                    Self::English => format!("{name} does not run"),
                    Self::Chinese => format!("{name} 未在运行"),
                    Self::Spanish => format!("{name} no funciona"),
                },
                problem.clone(),
            ),
            Trouble::NotDone(reason) => (
                self.pick(["That did not work", "未能完成", "No se pudo hacer"])
                    .into(),
                reason.clone(),
            ),
        }
    }

    /// Where the time comes from.
    pub fn time_source(self, source: &super::updates::TimeSource) -> String {
        use super::updates::TimeSource;
        match source {
            TimeSource::HardwareClock => self
                .pick(["The device's clock", "设备时钟", "El reloj del dispositivo"])
                .into(),
            TimeSource::Server(name) => name.clone(),
            TimeSource::Owner => self.pick(["You", "由你设置", "Tú"]).into(),
        }
    }

    /// How much of a storage is free.
    pub fn free_of(self, available: u64, size: u64) -> String {
        let (available, size) = (self.bytes(available), self.bytes(size));
        match self {
            Self::English => format!("{available} of {size} free"),
            Self::Chinese => format!("{size} 中有 {available} 可用"),
            Self::Spanish => format!("{available} libres de {size}"),
        }
    }

    /// When a device was last there.
    pub fn last_seen(self, when: &str) -> String {
        match self {
            Self::English => format!("Last seen {when}"),
            Self::Chinese => format!("上次在线：{when}"),
            Self::Spanish => format!("Visto: {when}"),
        }
    }

    /// How the last comparison with a server came out.
    pub fn synchronised(self, when: &str, offset_ms: Option<i64>) -> String {
        match offset_ms {
            Some(offset) => format!("{when} ({offset:+} ms)"),
            None => when.to_owned(),
        }
    }

    /// What has been restarted.
    pub fn restarted(self, name: &str) -> String {
        match self {
            Self::English => format!("{name} was restarted."),
            Self::Chinese => format!("已重新启动 {name}。"),
            Self::Spanish => format!("{name} se ha reiniciado."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LANGUAGES, Language};
    use jiff::{Zoned, civil::date, tz::TimeZone};

    fn sunday() -> Zoned {
        date(2026, 11, 22)
            .at(15, 4, 0, 0)
            .to_zoned(TimeZone::UTC)
            .unwrap()
    }

    #[test]
    fn dates_follow_the_language() {
        let dates: Vec<_> = LANGUAGES
            .iter()
            .map(|l| (l.weekday(&sunday()), l.date(&sunday()), l.month(&sunday())))
            .collect();
        assert_eq!(
            dates[0],
            ("Sunday", "22 November".into(), "November 2026".into())
        );
        assert_eq!(dates[1], ("星期日", "11月22日".into(), "2026年11月".into()));
        assert_eq!(
            dates[2],
            (
                "Domingo",
                "22 de noviembre".into(),
                "Noviembre de 2026".into()
            )
        );
    }

    #[test]
    fn both_ways_to_count_hours() {
        let at = |hour| {
            date(2026, 1, 1)
                .at(hour, 5, 0, 0)
                .to_zoned(TimeZone::UTC)
                .unwrap()
        };
        let english = Language::English;
        assert_eq!(english.time(&at(0), true), ("00:05".into(), ""));
        assert_eq!(english.time(&at(0), false), ("12:05".into(), "AM"));
        assert_eq!(english.time(&at(12), false), ("12:05".into(), "PM"));
        assert_eq!(
            Language::Chinese.time(&at(23), false),
            ("11:05".into(), "下午")
        );
    }

    #[test]
    fn sizes_have_a_unit_and_the_language_s_decimal_sign() {
        let english = Language::English;
        assert_eq!(english.bytes(0), "0 B");
        assert_eq!(english.bytes(999), "999 B");
        assert_eq!(english.bytes(1_000), "1.0 kB");
        assert_eq!(english.bytes(999_999), "1.0 MB");
        assert_eq!(english.bytes(61_400_000), "61 MB");
        assert_eq!(Language::Spanish.bytes(1_840_000_000), "1,8 GB");
        assert_eq!(english.bytes(u64::MAX), "18446744 TB");
    }

    #[test]
    fn durations_name_two_units() {
        let english = Language::English;
        assert_eq!(english.duration(59), "59 s");
        assert_eq!(english.duration(7_440), "2 h 4 min");
        assert_eq!(Language::Chinese.duration(90_000), "1 天 1 小时");
    }

    #[test]
    fn tags_come_back() {
        for language in LANGUAGES {
            assert_eq!(Language::from_tag(language.tag()), language);
        }
        assert_eq!(Language::from_tag("zh-Hans"), Language::Chinese);
        assert_eq!(Language::from_tag("tlh"), Language::English);
    }
}
