import django.core.validators
import django.db.models.deletion
import mlops.models.base
import mlops.models.history
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mlops', '0005_reservations_by_time'),
    ]

    operations = [
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.UUIDField(default=mlops.models.base.new_id, editable=False, primary_key=True, serialize=False, verbose_name='id')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
                ('scope', models.CharField(choices=[('user', 'User'), ('program', 'Program'), ('language_model', 'Language model'), ('installation', 'Installation')], max_length=14, verbose_name='scope')),
                ('program', models.CharField(blank=True, help_text='Its name: all versions count.', max_length=63, verbose_name='program')),
                ('period', models.CharField(choices=[('day', 'Day'), ('month', 'Month')], max_length=5, verbose_name='period')),
                ('limit', models.BigIntegerField(help_text='Pico-dollars per period.', verbose_name='limit')),
                ('warn_percent', models.PositiveSmallIntegerField(default=80, help_text='Share of the limit at which a mail is sent, once per period.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='warn at (%)')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('language_model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to='mlops.languagemodel', verbose_name='language model')),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='budgets', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'budget',
                'verbose_name_plural': 'budgets',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='BudgetPeriod',
            fields=[
                ('id', models.UUIDField(default=mlops.models.base.new_id, editable=False, primary_key=True, serialize=False)),
                ('starts_on', models.DateField(verbose_name='first day')),
                ('spent', models.BigIntegerField(default=0, verbose_name='spent')),
                ('allocated', models.BigIntegerField(default=0, verbose_name='allocated')),
                ('in_doubt', models.BigIntegerField(default=0, verbose_name='in doubt')),
                ('unpriced', models.PositiveBigIntegerField(default=0, help_text='Executions with a model call whose price nobody knows.', verbose_name='of unknown cost')),
                ('warned_at', models.DateTimeField(editable=False, null=True, verbose_name='warned at')),
                ('blocked_at', models.DateTimeField(editable=False, null=True, verbose_name='first blocked at')),
                ('block_told_at', models.DateTimeField(editable=False, null=True)),
                ('budget', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='periods', to='mlops.budget', verbose_name='budget')),
            ],
            options={
                'verbose_name': 'budget period',
                'verbose_name_plural': 'budget periods',
                'ordering': ['-starts_on'],
            },
        ),
        migrations.CreateModel(
            name='BudgetSlice',
            fields=[
                ('id', models.UUIDField(default=mlops.models.base.new_id, editable=False, primary_key=True, serialize=False)),
                ('holder', models.CharField(max_length=100, verbose_name='held by')),
                ('size', models.BigIntegerField(default=0, verbose_name='size')),
                ('used', models.BigIntegerField(default=0, verbose_name='used')),
                ('reserved', models.BigIntegerField(default=0, verbose_name='reserved')),
                ('unpriced', models.PositiveBigIntegerField(default=0, verbose_name='of unknown cost')),
                ('expires_at', models.DateTimeField(db_index=True, verbose_name='expires at')),
                ('is_swept', models.BooleanField(default=False, verbose_name='swept')),
                ('period', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='slices', to='mlops.budgetperiod')),
            ],
            options={
                'verbose_name': 'budget slice',
                'verbose_name_plural': 'budget slices',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='HistoricalBudget',
            fields=[
                ('id', models.UUIDField(db_index=True, default=mlops.models.base.new_id, editable=False, verbose_name='id')),
                ('created_at', models.DateTimeField(blank=True, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(blank=True, editable=False, verbose_name='updated at')),
                ('history_source', models.CharField(choices=[('admin', 'Admin'), ('rest', 'REST'), ('graphql', 'GraphQL'), ('task', 'Task'), ('python', 'Python')], default=mlops.models.history.current_source, max_length=8, verbose_name='source')),
                ('history_request_id', models.CharField(blank=True, db_index=True, default=mlops.models.history.current_request_id, max_length=64, verbose_name='request')),
                ('scope', models.CharField(choices=[('user', 'User'), ('program', 'Program'), ('language_model', 'Language model'), ('installation', 'Installation')], max_length=14, verbose_name='scope')),
                ('program', models.CharField(blank=True, help_text='Its name: all versions count.', max_length=63, verbose_name='program')),
                ('period', models.CharField(choices=[('day', 'Day'), ('month', 'Month')], max_length=5, verbose_name='period')),
                ('limit', models.BigIntegerField(help_text='Pico-dollars per period.', verbose_name='limit')),
                ('warn_percent', models.PositiveSmallIntegerField(default=80, help_text='Share of the limit at which a mail is sent, once per period.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)], verbose_name='warn at (%)')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('language_model', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='mlops.languagemodel', verbose_name='language model')),
                ('user', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'historical budget',
                'verbose_name_plural': 'historical budgets',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('language_model', None), ('program', ''), ('scope', 'user'), ('user__isnull', False)), models.Q(('language_model', None), ('scope', 'program'), ('user', None), models.Q(('program', ''), _negated=True)), models.Q(('language_model__isnull', False), ('program', ''), ('scope', 'language_model'), ('user', None)), models.Q(('scope', 'installation'), ('language_model', None), ('program', ''), ('user', None)), _connector='OR'), name='budget_one_target'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('period__in', ['day', 'month'])), name='budget_period_known'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('limit__gte', 0)), name='budget_limit_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('scope', 'user')), fields=('user', 'period'), name='budget_once_per_user'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('scope', 'program')), fields=('program', 'period'), name='budget_once_per_program'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('scope', 'language_model')), fields=('language_model', 'period'), name='budget_once_per_language_model'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('scope', 'installation')), fields=('period',), name='budget_once_per_installation'),
        ),
        migrations.AddConstraint(
            model_name='budgetperiod',
            constraint=models.UniqueConstraint(fields=('budget', 'starts_on'), name='budget_period_once'),
        ),
    ]
